use super::{chain, file::LogFile, *};
use crate::config::Audit;
use rules::{Timestamp, period::Period};
use std::{fs, path::Path};

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

const NOON: &str = "2026-11-21T12:00:00Z";

fn call(id: &str, time: &str) -> LogEntry {
    LogEntry::Call(Box::new(Record { call: id.into(), at: at(time), http: "POST".into(), status: 200, ..Record::default() }))
}

fn log(dir: &Path, change: impl FnOnce(&mut Audit)) -> LogFile {
    let mut config = Audit::default();
    change(&mut config);
    LogFile::open(dir, config, at(NOON)).unwrap()
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(dir).unwrap().map(|f| f.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

const FIRST: &str = "gateway-00000000000000000001.jsonl";

#[test]
fn a_line_reads_as_it_was_written() {
    let mut head = Head::default();
    let line = head.seal(&call("c1", NOON)).unwrap();
    expect_test::expect![[r#"
        {"seq":1,"prev":"0000000000000000000000000000000000000000000000000000000000000000","kind":"call","call":"c1","at":"2026-11-21T12:00:00Z","http":"POST","status":200,"outcome":"cancelled","latency_us":0,"duration_us":0,"bytes":0,"hash":"9c26d4f4fc18d10b3ec25e9bfa5b4d89008e7e8838c9794123b11c5ab338e859"}
    "#]]
    .assert_eq(&line);
    let (read, after) = chain::check(line.trim_end(), Some(&Head::default())).unwrap();
    assert_eq!((read.entry, after), (call("c1", NOON), head));
}

#[test]
fn no_byte_of_a_line_can_change() {
    let line = Head::default().seal(&call("c1", NOON)).unwrap();
    let line = line.trim_end();
    for i in 0..line.len() {
        let mut bytes = line.as_bytes().to_vec();
        bytes[i] ^= 1;
        let text = String::from_utf8_lossy(&bytes);
        assert!(chain::check(&text, Some(&Head::default())).is_err(), "byte {i}: {text}");
    }
}

#[test]
fn lines_cannot_be_dropped_swapped_repeated_or_added() {
    let dir = tempfile::tempdir().unwrap();
    log(dir.path(), |_| {}).append(&[1, 2, 3, 4].map(|n| call(&n.to_string(), NOON)), at(NOON)).unwrap();
    let path = dir.path().join(FIRST);
    let text = fs::read_to_string(&path).unwrap();
    let l: Vec<_> = text.lines().collect();
    let breaks = |lines: &[&str]| {
        fs::write(&path, lines.join("\n") + "\n").unwrap();
        verify(dir.path()).unwrap().breaks.len()
    };
    let forged = Head::default().seal(&call("forged", NOON)).unwrap();
    assert_eq!(breaks(&l), 0);
    for tampered in [
        vec![l[1], l[2], l[3]],
        vec![l[0], l[2], l[3]],
        vec![l[0], l[2], l[1], l[3]],
        vec![l[0], l[1], l[1], l[2], l[3]],
        vec![l[0], l[1], forged.trim_end(), l[2], l[3]],
        vec![l[0], l[1], "", l[2], l[3]],
    ] {
        assert!(breaks(&tampered) > 0, "{tampered:?}");
    }
    // A log cut short still holds; its head says that it is another.
    assert_eq!((breaks(&l[..3]), verify(dir.path()).unwrap().head.seq), (0, 3));
}

#[test]
fn a_half_written_record_is_set_aside_and_said() {
    let dir = tempfile::tempdir().unwrap();
    log(dir.path(), |_| {}).append(&[call("c1", NOON)], at(NOON)).unwrap();
    let path = dir.path().join(FIRST);
    let mut text = fs::read(&path).unwrap();
    text.extend_from_slice(b"{\"seq\":2,\"pr");
    fs::write(&path, &text).unwrap();
    assert_eq!(verify(dir.path()).unwrap().lines, 1, "a reader leaves it out");
    drop(log(dir.path(), |_| {}));
    let mut entries = Vec::new();
    read(dir.path(), |l| entries.push(l.entry)).unwrap();
    assert_eq!(entries, [call("c1", NOON), LogEntry::Gap(Gap { at: at(NOON), torn: 12, ..Gap::default() })]);
    assert!(verify(dir.path()).unwrap().holds());
    assert_eq!(fs::read(path.with_extension("torn")).unwrap(), b"{\"seq\":2,\"pr");
}

#[test]
fn files_end_by_size_and_by_day_and_the_oldest_make_room() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = log(dir.path(), |c| (c.file_bytes, c.keep) = (700, Period::days(2)));
    for (id, time) in [("1", NOON), ("2", NOON), ("3", NOON), ("4", "2026-11-22T00:00:00Z"), ("5", "2026-11-25T00:00:01Z")] {
        log.append(&[call(id, time)], at(time)).unwrap();
    }
    // 1 and 2 fill a file, 3 is of the day before 4, 5 comes when 1 to 3 are too old; 4 was written last in its file.
    let kept = ["anchor.json", "gateway-00000000000000000005.jsonl", "lock"];
    assert_eq!(names(dir.path()), kept);
    let report = verify(dir.path()).unwrap();
    assert_eq!((report.from.seq, report.head.seq, report.holds()), (4, 5, true));
}

#[test]
fn the_log_is_bounded_in_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = log(dir.path(), |c| (c.file_bytes, c.keep_bytes) = (1, 2000));
    for n in 0..20 {
        log.append(&[call(&n.to_string(), NOON)], at(NOON)).unwrap();
    }
    let size: u64 = fs::read_dir(dir.path()).unwrap().map(|f| f.unwrap().metadata().unwrap().len()).sum();
    assert!(size < 3000, "{size}");
    let report = verify(dir.path()).unwrap();
    assert!(report.holds() && report.head.seq == 20 && report.from.seq > 10, "{report:?}");
}

#[test]
fn one_writer_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let first = log(dir.path(), |_| {});
    let second = LogFile::open(dir.path(), Audit::default(), at(NOON)).unwrap_err();
    assert!(second.to_string().contains("another gateway"), "{second}");
    drop(first);
    drop(log(dir.path(), |_| {}));
}

#[test]
fn a_log_somebody_wrote_to_begins_a_new_chain_and_the_break_stays_visible() {
    let dir = tempfile::tempdir().unwrap();
    log(dir.path(), |_| {}).append(&[call("1", NOON), call("2", NOON)], at(NOON)).unwrap();
    let path = dir.path().join(FIRST);
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("\"call\":\"2\"", "\"call\":\"x\"")).unwrap();
    log(dir.path(), |_| {}).append(&[call("3", NOON)], at(NOON)).unwrap();
    let report = verify(dir.path()).unwrap();
    assert_eq!(report.breaks.iter().map(|b| (b.line, b.why.clone())).collect::<Vec<_>>(), [(2, Broken::Changed), (1, Broken::Detached)]);
    assert_eq!(report.head.seq, 3);
}
