//! Crashes and decay, played on real files.

use super::*;
use rules::observation::Coverage;

fn said(n: u64) -> (Timestamp, Said) {
    let coverage = Coverage { interface: format!("eth{n}"), frames: n, ..Coverage::default() };
    (Timestamp::from_second(n as i64).unwrap(), Said::Coverage(coverage))
}

fn frames(records: &[Record]) -> Vec<u64> {
    let frames = |r: &Record| match &r.said {
        Said::Coverage(c) => Some(c.frames),
        _ => None,
    };
    records.iter().filter_map(frames).collect()
}

fn gaps(records: &[Record]) -> Vec<(u64, u64)> {
    let gap = |r: &Record| match r.said {
        Said::Gap { from_seq, to_seq, .. } => Some((from_seq, to_seq)),
        _ => None,
    };
    records.iter().filter_map(gap).collect()
}

fn small() -> Limits {
    Limits { segment_bytes: 600, total_bytes: 3000 }
}

fn open(dir: &Path) -> Spool {
    Spool::open(dir, small(), 100).unwrap()
}

fn all(spool: &mut Spool) -> Vec<Record> {
    spool.peek(1000, 1 << 20, Timestamp::UNIX_EPOCH).unwrap()
}

#[test]
fn what_was_stored_survives_and_what_was_acknowledged_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = open(dir.path());
    assert_eq!(spool.append(&[said(1), said(2)]).unwrap(), 2);
    assert_eq!(spool.append(&[said(3)]).unwrap(), 3);
    spool.ack(2).unwrap();
    spool.ack(1).unwrap();
    drop(spool);
    let mut spool = Spool::open(dir.path(), small(), 999).unwrap();
    assert_eq!((spool.epoch(), spool.acked(), spool.has_pending()), (100, 2, true));
    assert_eq!(frames(&all(&mut spool)), [3]);
    assert_eq!(spool.append(&[said(4)]).unwrap(), 4);
    spool.ack(4).unwrap();
    assert!(!spool.has_pending());
    assert_eq!(all(&mut spool), []);
}

#[test]
fn a_crash_at_any_byte_of_the_last_write_loses_only_that_write() {
    let dir = tempfile::tempdir().unwrap();
    let path = segment_path(dir.path(), 1);
    let mut spool = open(dir.path());
    spool.append(&[said(1), said(2)]).unwrap();
    let before = fs::metadata(&path).unwrap().len();
    spool.append(&[said(3)]).unwrap();
    let whole = fs::read(&path).unwrap();
    drop(spool);
    for cut in before..=whole.len() as u64 {
        fs::write(&path, &whole[..cut as usize]).unwrap();
        let mut spool = open(dir.path());
        let kept = if cut == whole.len() as u64 { vec![1, 2, 3] } else { vec![1, 2] };
        assert_eq!(frames(&all(&mut spool)), kept, "cut at {cut}");
        assert_eq!(spool.losses().torn, u64::from(cut != before && cut != whole.len() as u64));
        let next = spool.append(&[said(9)]).unwrap();
        assert_eq!((next, frames(&all(&mut spool)).last()), (kept.len() as u64 + 1, Some(&9)));
    }
}

#[test]
fn any_byte_gone_bad_costs_what_it_hit_and_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let path = segment_path(dir.path(), 1);
    let mut spool = open(dir.path());
    let ends: Vec<u64> = (1..=3)
        .map(|n| {
            spool.append(&[said(n)]).unwrap();
            fs::metadata(&path).unwrap().len()
        })
        .collect();
    let whole = fs::read(&path).unwrap();
    drop(spool);
    for at in ends[0]..ends[1] {
        let mut bad = whole.clone();
        bad[at as usize] ^= 0x55;
        fs::write(&path, &bad).unwrap();
        let mut spool = open(dir.path());
        let records = all(&mut spool);
        assert_eq!((spool.losses().corrupt, spool.losses().torn), (1, 0), "byte {at}");
        assert_eq!((frames(&records), gaps(&records)), (vec![1, 3], vec![(2, 2)]), "byte {at}");
    }
}

#[test]
fn a_full_spool_drops_the_oldest_and_says_which() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = open(dir.path());
    for n in 1..=100 {
        assert_eq!(spool.append(&[said(n)]).unwrap(), n);
        assert!(spool.bytes() <= 3000, "{}", spool.bytes());
    }
    let records = all(&mut spool);
    let (kept, lost) = (frames(&records), gaps(&records));
    assert_eq!(lost, [(1, kept[0] - 1)]);
    assert_eq!(kept, (kept[0]..=100).collect::<Vec<_>>());
    assert_eq!(spool.losses().dropped, kept[0] - 1);
    assert_eq!(records[0].seq, kept[0] - 1, "a gap is numbered like the last it stands for");
}

#[test]
fn a_lost_state_file_begins_a_new_epoch_and_says_all_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = open(dir.path());
    spool.append(&[said(1), said(2)]).unwrap();
    spool.ack(1).unwrap();
    drop(spool);
    fs::write(dir.path().join("acked"), "100 x").unwrap();
    let mut spool = Spool::open(dir.path(), small(), 200).unwrap();
    assert_eq!((spool.epoch(), frames(&all(&mut spool))), (200, vec![1, 2]));
    spool.ack(2).unwrap();
    spool.renumber(500).unwrap();
    spool.append(&[said(3)]).unwrap();
    assert_eq!((spool.epoch(), frames(&all(&mut spool)).last()), (500, Some(&3)));
}

#[test]
fn what_was_acknowledged_is_never_called_lost_in_a_new_epoch() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = open(dir.path());
    for n in 1..=20 {
        spool.append(&[said(n)]).unwrap();
    }
    spool.ack(17).unwrap();
    spool.renumber(500).unwrap();
    let told = |spool: &mut Spool| {
        let records = all(spool);
        (spool.epoch(), spool.acked(), records.iter().map(|r| r.seq).collect::<Vec<_>>(), frames(&records), gaps(&records))
    };
    assert_eq!(told(&mut spool), (500, 0, vec![1, 2, 3], vec![18, 19, 20], vec![]));
    spool.ack(1).unwrap();
    assert_eq!(spool.append(&[said(21)]).unwrap(), 4);
    drop(spool);
    let mut spool = open(dir.path());
    assert_eq!(told(&mut spool), (500, 1, vec![2, 3, 4], vec![19, 20, 21], vec![]));
    drop(spool);
    // Without its state it says again what is left, and no more.
    fs::remove_file(dir.path().join("acked")).unwrap();
    let mut spool = Spool::open(dir.path(), small(), 600).unwrap();
    let (epoch, acked, seqs, frames, gaps) = told(&mut spool);
    assert_eq!((epoch, acked, seqs[0], frames.last(), gaps), (600, 0, 1, Some(&21), vec![]));
}

/// Appends, acknowledgements, restarts and torn writes in any order against a list in memory.
#[test]
fn it_agrees_with_a_list_under_random_use() {
    for seed in 0..6u64 {
        let dir = tempfile::tempdir().unwrap();
        let limits = Limits { segment_bytes: 400, total_bytes: 1 << 20 };
        let mut spool = Spool::open(dir.path(), limits, 1).unwrap();
        let (mut chance, mut stored, mut acked) = (seed, 0u64, 0u64);
        for _ in 0..80 {
            match crate::uplink::backoff::next_chance(&mut chance) % 6 {
                0..=2 => {
                    let batch: Vec<_> = (stored + 1..=stored + 1 + chance % 3).map(said).collect();
                    stored = spool.append(&batch).unwrap();
                }
                3 => {
                    acked = acked.max((acked + chance % 5).min(stored));
                    spool.ack(acked).unwrap();
                }
                4 => spool = Spool::open(dir.path(), limits, 1).unwrap(),
                _ => {
                    let last = spool.segments.back().map(|s| spool.path(s.first));
                    if let Some(path) = last {
                        let mut file = OpenOptions::new().append(true).open(path).unwrap();
                        file.write_all(&[9, 0, 0, 0, 1, 2, 3][..1 + (chance % 6) as usize]).unwrap();
                    }
                    spool = Spool::open(dir.path(), limits, 1).unwrap();
                }
            }
            let window = 1 + (chance % 7) as usize;
            let want: Vec<u64> = (acked + 1..=stored).collect();
            let got = frames(&spool.peek(window, 1 << 20, Timestamp::UNIX_EPOCH).unwrap());
            assert_eq!(got, want[..window.min(want.len())], "seed {seed}");
        }
    }
}

#[test]
fn a_write_that_fails_stores_nothing_and_the_next_one_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = open(dir.path());
    spool.append(&[said(1)]).unwrap();
    spool.tail = Some(File::open(segment_path(dir.path(), 1)).unwrap());
    assert!(spool.append(&[said(2)]).is_err());
    assert_eq!(spool.append(&[said(3), said(4)]).unwrap(), 3);
    assert_eq!(frames(&all(&mut spool)), [1, 3, 4]);
    drop(spool);
    assert_eq!(frames(&all(&mut open(dir.path()))), [1, 3, 4]);
}

/// Unmounts whatever happens.
struct Tiny(tempfile::TempDir);

impl Tiny {
    /// A file system of 64 KiB; `None` where mounting is not allowed, which is said.
    fn mount() -> Option<Tiny> {
        let dir = tempfile::tempdir().unwrap();
        let mounted = std::process::Command::new("mount").args(["-t", "tmpfs", "-o", "size=64k", "tmpfs"]).arg(dir.path()).output();
        if mounted.is_ok_and(|o| o.status.success()) {
            return Some(Tiny(dir));
        }
        eprintln!("skipped: a full disk needs the right to mount a small one");
        None
    }
}

impl Drop for Tiny {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg(self.0.path()).status();
    }
}

#[test]
fn on_a_full_disk_nothing_stored_is_lost_and_room_is_made_by_the_oldest() {
    let Some(disk) = Tiny::mount() else { return };
    let limits = Limits { segment_bytes: 16 << 10, total_bytes: 1 << 20 };
    let mut spool = Spool::open(disk.0.path(), limits, 1).unwrap();
    let mut stored = 0;
    let full = (0..2000).any(|n| match spool.append(&[said(n)]) {
        Ok(last) => {
            stored = last;
            false
        }
        Err(_) => true,
    });
    assert!(full);
    drop(spool);
    let mut spool = Spool::open(disk.0.path(), limits, 1).unwrap();
    assert_eq!(spool.peek(5000, 1 << 20, Timestamp::UNIX_EPOCH).unwrap().last().map(|r| r.seq), Some(stored));
    assert!(spool.drop_oldest().unwrap());
    assert_eq!(spool.append(&[said(1)]).unwrap(), stored + 1);
    let records = spool.peek(5000, 1 << 20, Timestamp::UNIX_EPOCH).unwrap();
    assert_eq!((gaps(&records).len(), records.last().map(|r| r.seq)), (1, Some(stored + 1)));
}
