use super::*;
use crate::decode::{Cut, Segment};

/// Writes down what it is told: `>` from the client (low), `<` from the server (high). After a `~` it is not interested.
#[derive(Debug, Default)]
struct Scribe {
    indifferent: bool,
}

impl Conversation for Scribe {
    type World = String;

    fn bytes(&mut self, from: End, bytes: &[u8], cx: &mut Context<'_, String>) {
        let out = &mut *cx.world;
        out.push(if from == End::Low { '>' } else { '<' });
        self.indifferent |= bytes == b"~";
        if self.indifferent && bytes.len() > 9 {
            return out.push_str("much");
        }
        out.push_str(&String::from_utf8_lossy(bytes));
    }
    fn gap(&mut self, from: End, missing: usize, cx: &mut Context<'_, String>) {
        cx.world.push_str(&format!("{}[{missing}]", if from == End::Low { '>' } else { '<' }));
    }
    fn ended(&mut self, _: End, cx: &mut Context<'_, String>) {
        cx.world.push('.');
    }
    fn closed(&mut self, cx: &mut Context<'_, String>) {
        cx.world.push('#');
    }
    fn ambiguous(&mut self, cx: &mut Context<'_, String>) {
        cx.world.push('?');
    }
    fn indifferent(&self) -> bool {
        self.indifferent
    }
}

struct Wire {
    table: Table<Scribe>,
    said: String,
    clock: i64,
}

impl Wire {
    fn new() -> Wire {
        Wire { table: Table::new(Bounds { flows: 8, ..Bounds::default() }), said: String::new(), clock: 0 }
    }

    /// `c` or `s` (who), sequence, acknowledgement, flags of `SFR`, payload.
    fn send(&mut self, who: char, sequence: u32, acknowledgment: Option<u32>, flags: &str, payload: &str) -> &mut Wire {
        self.send_port(1000, who, sequence, acknowledgment, flags, payload)
    }

    fn send_port(&mut self, port: u16, who: char, sequence: u32, acknowledgment: Option<u32>, flags: &str, payload: &str) -> &mut Wire {
        let client = Endpoint::new([10, 0, 0, 1].into(), port);
        let server = Endpoint::new([10, 0, 0, 2].into(), 80);
        let (source, destination) = if who == 'c' { (client, server) } else { (server, client) };
        let segment = Segment {
            source_port: source.port,
            destination_port: destination.port,
            sequence,
            acknowledgment,
            syn: flags.contains('S'),
            fin: flags.contains('F'),
            urgent: false,
            rst: flags.contains('R'),
            payload: Cut { bytes: payload.as_bytes(), missing: 0 },
        };
        self.clock += 1_000_000;
        self.table.segment(source, destination, &segment, Moment::new(0, self.clock), &mut self.said);
        self
    }

    fn wait(&mut self, milliseconds: i64) -> &mut Wire {
        self.clock += milliseconds * 1_000_000;
        self
    }

    fn finish(&mut self) -> &str {
        self.table.finish(Moment::new(0, self.clock), &mut self.said);
        assert_eq!(self.table.held_bytes(), 0, "held bytes leak");
        &self.said
    }
}

#[test]
fn order_is_restored_and_copies_are_dropped() {
    let mut w = Wire::new();
    w.send('c', 99, None, "S", "").send('s', 499, Some(100), "S", "");
    w.send('c', 104, Some(500), "", "efgh").send('c', 100, Some(500), "", "abcd").send('c', 100, Some(500), "", "abcd");
    w.send('c', 102, Some(500), "", "cdefghij");
    assert_eq!(w.finish(), ">abcd>efgh>ij#");
}

#[test]
fn sequence_numbers_wrap() {
    let mut w = Wire::new();
    w.send('c', u32::MAX - 1, None, "S", "").send('c', 3, Some(1), "", "efg").send('c', u32::MAX, Some(1), "", "abcd");
    assert_eq!(w.finish(), ">abcd>efg#");
}

#[test]
fn an_answer_waits_for_its_question() {
    let mut w = Wire::new();
    w.send('c', 0, None, "S", "").send('s', 0, Some(1), "S", "");
    w.send('s', 1, Some(6), "", "yes").send('c', 1, Some(1), "", "right");
    assert_eq!(w.finish(), ">right<yes#");
}

#[test]
fn what_the_capture_lacks_is_a_gap_once_it_is_known_to_have_arrived() {
    let mut w = Wire::new();
    w.send('c', 0, None, "S", "").send('s', 0, Some(1), "S", "");
    w.send('s', 1, Some(6), "", "yes").wait(300).send('s', 4, Some(6), "", "sir");
    assert_eq!(w.said, ">[5]<yes<sir");
    w.send('c', 8, Some(7), "", "cd").wait(300).send('c', 10, Some(7), "", "ef");
    assert_eq!(w.said, ">[5]<yes<sir", "nobody acknowledged byte 6: it may still come");
    w.send('s', 7, Some(12), "", "ok").wait(300).send('s', 9, Some(12), "", "!");
    assert_eq!(w.finish(), ">[5]<yes<sir>[2]>cd>ef<ok<!#");
}

#[test]
fn one_direction_alone_flows() {
    let mut w = Wire::new();
    w.send('c', 1, Some(70), "", "ab").send('c', 3, Some(90), "", "cd");
    assert_eq!(w.finish(), ">ab>cd#");
}

#[test]
fn the_first_copy_wins_and_a_different_one_is_counted() {
    let mut w = Wire::new();
    w.send('c', 99, None, "S", "");
    w.send('c', 102, Some(1), "", "cd").send('c', 102, Some(1), "", "XX").send('c', 101, Some(1), "", "bY").send(
        'c',
        100,
        Some(1),
        "",
        "ab",
    );
    assert_eq!(w.finish(), "??>a>b>cd#");
    assert_eq!(w.table.lost().ambiguous, 2);
}

#[test]
fn a_later_copy_that_differs_is_counted_and_a_true_one_is_not() {
    let mut w = Wire::new();
    w.send('c', 99, None, "S", "").send('c', 100, Some(1), "", "abcd").send('c', 100, Some(1), "", "abcd");
    assert_eq!(w.table.lost().ambiguous, 0);
    w.send('c', 100, Some(1), "", "aXcd").send('c', 104, Some(1), "", "efgh");
    assert_eq!(w.finish(), ">abcd?>efgh#");
    assert_eq!(w.table.lost().ambiguous, 1);
}

#[test]
fn both_fins_close_and_a_reused_port_starts_anew() {
    let mut w = Wire::new();
    w.send('c', 99, None, "S", "").send('s', 499, Some(100), "S", "").send('c', 100, Some(500), "F", "ab");
    w.send('s', 500, Some(103), "F", "yz").send('c', 103, Some(503), "", "");
    assert_eq!(w.said, ">ab.<yz.#");
    w.send('c', 900, None, "S", "").send('c', 901, Some(1), "", "new");
    assert_eq!(w.finish(), ">ab.<yz.#>new#");
}

#[test]
fn a_forged_reset_out_of_window_is_ignored() {
    let mut w = Wire::new();
    w.send('c', 99, None, "S", "").send('c', 100, Some(1), "", "ab").send('c', 9_000_000, Some(1), "R", "").send(
        'c',
        102,
        Some(1),
        "",
        "cd",
    );
    assert_eq!(w.finish(), ">ab>cd#");
}

#[test]
fn a_stray_far_ahead_does_not_derail() {
    let mut w = Wire::new();
    w.send('c', 99, None, "S", "").send('c', 100, Some(1), "", "ab").send('c', 500_000_000, Some(1), "", "??").send(
        'c',
        102,
        Some(1),
        "",
        "cd",
    );
    assert_eq!(w.finish(), ">ab>cd#");
    assert_eq!(w.table.lost().strays, 1);
}

#[test]
fn half_open_floods_push_out_half_open_ones_first() {
    let mut w = Wire::new();
    w.send_port(1, 'c', 1, Some(1), "", "kept");
    for port in 100..200 {
        w.send_port(port, 'c', 7, None, "S", "");
    }
    assert!(w.table.len() <= 8);
    w.send_port(1, 'c', 5, Some(1), "", "on");
    assert_eq!(w.said, ">kept>on");
    assert!(w.table.lost().evicted > 90);
}

#[test]
fn what_waits_is_handed_on_when_time_passes_without_segments() {
    let mut w = Wire::new();
    w.send('c', 0, None, "S", "").send('s', 0, Some(1), "S", "").send('s', 1, Some(6), "", "yes");
    assert_eq!(w.said, "");
    w.wait(300);
    w.table.expire(Moment::new(0, w.clock), &mut w.said);
    assert_eq!((w.said.as_str(), w.table.held_bytes()), (">[5]<yes", 0));
}

#[test]
fn the_bound_holds_for_connections_that_only_wait() {
    let mut w = Wire::new();
    for port in 100..400 {
        // A question that is not in the capture, and its answer: held, and silent until it is closed.
        w.send_port(port, 'c', 0, None, "S", "").send_port(port, 's', 0, Some(1), "S", "").send_port(port, 's', 1, Some(6), "", "yes");
        assert!(w.table.len() <= 8, "{} connections", w.table.len());
    }
    w.wait(2_000_000);
    w.table.expire(Moment::new(0, w.clock), &mut w.said);
    assert_eq!(w.table.len(), 0);
}

#[test]
fn silent_connections_that_wait_pay_for_the_room_of_one_that_goes_on() {
    let mut w = Wire::new();
    w.table = Table::new(Bounds { flows: 256, held_bytes: 20_000, ..Bounds::default() });
    // What is before these is never seen: each holds nearly a thousand bytes.
    for port in 100..140 {
        w.send_port(port, 'c', 0, None, "S", "").send_port(port, 'c', 500, Some(1), "", &"x".repeat(900));
        assert!(w.table.held_bytes() <= 20_000);
    }
    assert!(w.table.lost().held_full > 0, "the bound was reached");
    w.send('c', 0, None, "S", "").send('c', 5, Some(1), "", "late").send('c', 1, Some(1), "", "soon");
    assert!(w.said.ends_with(">soon>late"), "{}", w.said);
}

#[test]
fn a_million_half_open_connections_take_no_more_room_than_few() {
    let bounds = Bounds::default();
    let (mut table, mut said) = (Table::<Scribe>::new(bounds), String::new());
    let segment = |syn| Segment {
        urgent: false,
        source_port: 0,
        destination_port: 80,
        sequence: 7,
        acknowledgment: None,
        syn,
        fin: false,
        rst: false,
        payload: Cut { bytes: if syn { b"" } else { b"kept" }, missing: 0 },
    };
    let server = Endpoint::new([10, 0, 0, 2].into(), 80);
    let old = Endpoint::new([10, 0, 0, 1].into(), 9);
    table.segment(old, server, &segment(false), Moment::new(0, 0), &mut said);
    for n in 0..1_000_000u32 {
        let client = Endpoint::new(std::net::Ipv4Addr::from(0x0b00_0000 + n).into(), 1024);
        table.segment(client, server, &segment(true), Moment::new(0, i64::from(n)), &mut said);
    }
    assert!(table.slots() <= bounds.flows / 4 + 2, "{} places were taken", table.slots());
    assert_eq!(table.lost().evicted as usize, 1_000_001 - table.len());
    assert_eq!(said, ">kept", "one that spoke is still there");
}

#[test]
fn idle_connections_are_forgotten() {
    let mut w = Wire::new();
    w.send('c', 1, Some(1), "", "ab").wait(1_000_000);
    w.table.expire(Moment::new(0, w.clock), &mut w.said);
    assert_eq!(w.table.len(), 1);
    w.wait(1_000_000);
    w.table.expire(Moment::new(0, w.clock), &mut w.said);
    assert_eq!((w.table.len(), w.said.as_str()), (0, ">ab#"));
}

proptest::proptest! {
    /// However segments of one stream are cut, shuffled and repeated, the bytes come out as they were sent.
    #[test]
    fn any_order_gives_the_same_stream(cuts in proptest::collection::vec(1usize..9, 1..12), order in proptest::collection::vec(0usize..12, 0..40), start in proptest::prelude::any::<u32>()) {
        let whole: String = ('a'..='z').cycle().take(cuts.iter().sum()).collect();
        let mut pieces = Vec::new();
        let mut at = 0;
        for cut in &cuts {
            pieces.push((at, &whole[at..at + cut]));
            at += cut;
        }
        let mut w = Wire::new();
        w.send('c', start.wrapping_sub(1), None, "S", "");
        let shuffled = order.iter().filter_map(|i| pieces.get(*i)).chain(pieces.iter().rev());
        for (offset, piece) in shuffled {
            w.send('c', start.wrapping_add(u32::try_from(*offset).unwrap()), Some(1), "", piece);
        }
        let said = w.finish().replace(['>', '#'], "");
        proptest::prop_assert_eq!(said, whole);
    }
}

#[test]
fn what_is_heavy_and_cannot_be_read_is_noticed_until_its_end_wherever_that_is() {
    let mut w = Wire::new();
    let much = "x".repeat(60_000);
    let noticed = |w: &mut Wire| w.table.heavy().collect::<Vec<_>>();
    let (client, server) = (Endpoint::new([10, 0, 0, 1].into(), 1000), Endpoint::new([10, 0, 0, 2].into(), 80));
    w.send('c', 99, None, "S", "").send('s', 499, Some(100), "S", "");
    w.send('c', 100, Some(500), "", "~");
    for n in 0..18 {
        assert_eq!(noticed(&mut w), [], "{n}");
        w.send('s', 500 + n * 60_000, Some(101), "", &much);
    }
    assert_eq!(noticed(&mut w), [Heavy::Unread(client, server)]);
    // Its middle does not come by any more, which is no loss when something small of it does.
    w.send('s', 1_000_000_500, Some(101), "", "~").send('c', 101, Some(1_000_000_501), "", "~").send('c', 102, None, "", "");
    assert_eq!(w.table.lost(), Lost::default());
    // Both ends are far from what was seen, and are the ends.
    w.said.clear();
    w.send('s', 2_000_000_500, Some(101), "F", "").send('c', 101, Some(2_000_000_501), "F", "");
    assert_eq!((noticed(&mut w), w.said.as_str(), w.table.len()), (vec![Heavy::Over(client, server)], "..#", 0));

    // The same ports again, with a first number near to where the last one was.
    w.send('c', 99, None, "S", "").send('c', 100, Some(1), "", "~").send('s', 1, Some(101), "", &much);
    w.said.clear();
    w.send('c', 120, None, "S", "").send('c', 121, Some(1), "", "new");
    assert_eq!(w.said, "#>new");
}

#[test]
fn one_that_begins_anew_while_the_old_one_goes_on_is_ambiguous_and_never_left() {
    let mut w = Wire::new();
    let much = "x".repeat(60_000);
    w.send('c', 99, None, "S", "").send('s', 499, Some(100), "S", "").send('c', 100, Some(500), "", "real");
    // Somebody else's: no end was seen, and what follows hides what goes on.
    w.send('c', 1_000_000_099, None, "S", "").send('c', 1_000_000_100, Some(1), "", "~");
    w.said.clear();
    w.send('c', 104, Some(500), "", "goes on");
    assert_eq!((w.said.as_str(), w.table.lost().ambiguous), ("?", 1));
    for n in 0..40 {
        w.send('c', 1_000_000_101 + n * 60_000, Some(1), "", &much);
    }
    assert_eq!(w.table.heavy().count(), 0);
    // Ports used again after an end are nothing of the kind.
    let mut w = Wire::new();
    w.send('c', 99, None, "S", "").send('c', 100, Some(1), "F", "a").send('c', 1_000_000_099, None, "S", "");
    w.send('c', 1_000_000_100, Some(1), "", "b").send('c', 104, Some(1), "", "late");
    assert_eq!(w.table.lost().ambiguous, 0);
}

#[test]
fn strays_that_move_the_window_are_ambiguous_unless_nobody_listens() {
    for (first, ambiguous) in [("ab", 1), ("~", 0)] {
        let mut w = Wire::new();
        w.send('c', 99, None, "S", "").send('c', 100, Some(1), "", first);
        for n in 0..16 {
            w.send('c', 500_000_000 + n, Some(1), "", "?");
        }
        assert_eq!(w.table.lost().ambiguous, ambiguous, "{first}");
    }
}
