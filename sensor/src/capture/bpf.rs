//! Instructions of the classic packet filter (Linux, Documentation/networking/filter.rst) that let the middle of some connections be.
//!
//! Written here and not in libpcap's language: compiling as much takes libpcap a tenth of a second, and the ring is full in less.

use pcap::BpfProgram;
use rules::endpoint::Endpoint;
use std::net::IpAddr;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Instruction {
    pub(super) code: u16,
    /// Instructions skipped when what it compares holds, or does not.
    pub(super) true_skips: u8,
    pub(super) false_skips: u8,
    pub(super) operand: u32,
}

const LOAD_WORD: u16 = 0x20;
const LOAD_HALF: u16 = 0x28;
const LOAD_BYTE: u16 = 0x30;
const LOAD_LENGTH: u16 = 0x80;
/// `SKF_AD_OFF + SKF_AD_VLAN_TAG_PRESENT`: the kernel takes a tag off before a filter runs.
const TAGGED: u32 = 0xffff_f000 + 48;
const JUMP: u16 = 0x05;
const IF_EQUAL: u16 = 0x15;
const IF_AT_LEAST: u16 = 0x35;
const IF_ANY: u16 = 0x45;
const RETURN: u16 = 0x06;

#[cfg(test)]
pub(super) const ALL: Instruction = Instruction { code: RETURN, true_skips: 0, false_skips: 0, operand: u32::MAX };

/// What libpcap compiled. The crate shows instructions only as `tcpdump -ddd` does: code, both jumps, operand.
pub(super) fn read(program: &BpfProgram) -> Option<Vec<Instruction>> {
    let one = |text: String| {
        let mut fields = text.split(' ').map(str::parse::<u32>);
        let mut next = || fields.next().and_then(Result::ok);
        let (code, when_true, when_false, operand) = (next()?, next()?, next()?, next()?);
        Some(Instruction {
            code: code.try_into().ok()?,
            true_skips: when_true.try_into().ok()?,
            false_skips: when_false.try_into().ok()?,
            operand,
        })
    };
    program.get_instructions().iter().map(|i| one(i.to_string())).collect()
}

/// Goes on after its last instruction, unless the frame is a segment of one of these connections without SYN, FIN and RST, and either large
/// or without payload, which is left in the kernel. Frames under tags, IPv4 with options and fragments are none of them.
pub(super) fn without(connections: &[(Endpoint, Endpoint)]) -> Vec<Instruction> {
    let (four, six): (Vec<_>, Vec<_>) = connections.iter().copied().partition(|(a, _)| a.address.is_ipv4());
    let (four, six) = (FOUR.segments(&four), SIX.segments(&six));
    if four.is_empty() && six.is_empty() {
        return Vec::new();
    }
    let rest = four.len() + six.len() + 6;
    let mut all = vec![load(LOAD_BYTE, TAGGED), jump(IF_EQUAL, 0, 1, 0), always(rest), load(LOAD_HALF, 12)];
    all.extend([jump(IF_EQUAL, 0x0800, 1, 0), always(four.len() + 1)]);
    all.extend(four);
    all.push(always(six.len() + 2));
    all.extend([jump(IF_EQUAL, 0x86dd, 1, 0), always(six.len())]);
    all.extend(six);
    all
}

/// Where things are in a frame of one family, from its first byte.
struct Shape {
    /// Of the frame up to its TCP header's end, at least.
    length: u32,
    /// The length in the IP header, and what it is when there is no payload, at most (a TCP header with options).
    size: (u32, u32),
    /// Tests that all hold for a segment whose ports are where they should be: what to load, where, a comparison, and its wanted outcome.
    tests: &'static [(u16, u32, u16, u32, bool)],
    ports: u32,
    addresses: [u32; 2],
}

/// SYN, FIN, RST.
const ENDS: u32 = 7;

/// Bytes of IP: what is sent in bulk fills its segments. A request does not, so that one on the same ports in the clear comes by even
/// before the filter is another one.
const LARGE: u32 = 1000;

const FOUR: Shape = Shape {
    length: 54,
    size: (16, 72),
    tests: &[
        (LOAD_BYTE, 14, IF_EQUAL, 0x45, true),
        (LOAD_BYTE, 23, IF_EQUAL, 6, true),
        (LOAD_HALF, 20, IF_ANY, 0x3fff, false),
        (LOAD_BYTE, 47, IF_ANY, ENDS, false),
    ],
    ports: 34,
    addresses: [26, 30],
};

const SIX: Shape = Shape {
    length: 74,
    // Without the IPv6 header.
    size: (18, 52),
    tests: &[(LOAD_BYTE, 20, IF_EQUAL, 6, true), (LOAD_BYTE, 67, IF_ANY, ENDS, false)],
    ports: 54,
    addresses: [22, 38],
};

impl Shape {
    /// Drops segments of these connections, goes on after the last instruction with all else.
    fn segments(&self, connections: &[(Endpoint, Endpoint)]) -> Vec<Instruction> {
        let both = connections.iter().flat_map(|(a, b)| [(a, b), (b, a)]);
        let drops: Vec<Instruction> = both.flat_map(|(from, to)| self.one_way(*from, *to)).collect();
        if drops.is_empty() {
            return drops;
        }
        let mut all = vec![load(LOAD_LENGTH, 0), jump(IF_AT_LEAST, self.length, 1, 0)];
        let (tests, size) = (self.tests.len() * 3, 4);
        all.push(always(size + tests + drops.len()));
        // Large, or no more than headers: past the jump away.
        let (at, bare) = self.size;
        all.extend([load(LOAD_HALF, at), jump(IF_AT_LEAST, LARGE, 2, 0), jump(IF_AT_LEAST, bare + 1, 0, 1)]);
        all.push(always(tests + drops.len()));
        for (n, (width, at, comparison, operand, wanted)) in self.tests.iter().enumerate() {
            let (when_true, when_false) = if *wanted { (1, 0) } else { (0, 1) };
            all.extend([load(*width, *at), jump(*comparison, *operand, when_true, when_false)]);
            all.push(always(tests - 3 * (n + 1) + drops.len()));
        }
        all.extend(drops);
        all
    }

    fn one_way(&self, from: Endpoint, to: Endpoint) -> Vec<Instruction> {
        let mut compared = vec![(self.ports, u32::from(from.port) << 16 | u32::from(to.port))];
        for (at, end) in self.addresses.into_iter().zip([from, to]) {
            compared.extend((at..).step_by(4).zip(words(end.address)));
        }
        let last = compared.len();
        let mut all = Vec::with_capacity(2 * last + 1);
        for (n, (at, word)) in compared.into_iter().enumerate() {
            // Past the other comparisons and the return.
            let past = 2 * (last - n - 1) + 1;
            all.extend([load(LOAD_WORD, at), jump(IF_EQUAL, word, 0, past as u8)]);
        }
        all.push(Instruction { code: RETURN, true_skips: 0, false_skips: 0, operand: 0 });
        all
    }
}

fn words(address: IpAddr) -> Vec<u32> {
    match address {
        IpAddr::V4(a) => vec![a.into()],
        IpAddr::V6(a) => a.octets().chunks_exact(4).filter_map(|word| Some(u32::from_be_bytes(word.try_into().ok()?))).collect(),
    }
}

fn load(code: u16, at: u32) -> Instruction {
    Instruction { code, true_skips: 0, false_skips: 0, operand: at }
}

fn jump(code: u16, operand: u32, true_skips: u8, false_skips: u8) -> Instruction {
    Instruction { code, true_skips, false_skips, operand }
}

fn always(skips: usize) -> Instruction {
    Instruction { code: JUMP, true_skips: 0, false_skips: 0, operand: skips as u32 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::filter::tests::between;
    use pcap::{Capture, Linktype};

    /// What the kernel does with it: bytes to keep.
    fn run(program: &[Instruction], frame: &[u8], tagged: bool) -> u32 {
        let (mut a, mut at) = (0u32, 0usize);
        let load = |from: u32, width: usize| {
            if from == TAGGED {
                return Some(u32::from(tagged));
            }
            let bytes = frame.get(from as usize..from as usize + width)?;
            Some(bytes.iter().fold(0u32, |sum, b| sum << 8 | u32::from(*b)))
        };
        loop {
            let i = program[at];
            at += 1;
            let holds = match i.code {
                LOAD_WORD | LOAD_HALF | LOAD_BYTE => {
                    let width = [4, 2, 1][usize::from(i.code - LOAD_WORD) / 8];
                    let Some(value) = load(i.operand, width) else { return 0 };
                    a = value;
                    continue;
                }
                LOAD_LENGTH => {
                    a = frame.len() as u32;
                    continue;
                }
                JUMP => {
                    at += i.operand as usize;
                    continue;
                }
                IF_EQUAL => a == i.operand,
                IF_AT_LEAST => a >= i.operand,
                IF_ANY => a & i.operand != 0,
                RETURN => return i.operand,
                other => panic!("{other:#x}"),
            };
            at += usize::from(if holds { i.true_skips } else { i.false_skips });
        }
    }

    #[test]
    fn what_is_left_is_the_middle_of_those_connections_and_nothing_else() {
        let (v4, v6) = ([[10, 0, 0, 1], [10, 0, 0, 2]], [[0xfd; 16], [0xfc; 16]]);
        let ends = |[a, b]: [IpAddr; 2], port| (Endpoint::new(a, port), Endpoint::new(b, 443));
        let four = |port| ends(v4.map(IpAddr::from), port);
        let six = |port| ends(v6.map(IpAddr::from), port);
        for left in [vec![], vec![four(40_000)], vec![six(40_000)], vec![four(9), four(40_000), six(9), six(40_000), four(8)]] {
            let program = [without(&left), vec![ALL]].concat();
            let passes = |frame: &[u8]| {
                assert_eq!(run(&program, frame, true), u32::MAX, "of another network");
                run(&program, frame, false) == u32::MAX
            };
            for [a, b] in [v4.each_ref().map(|a| &a[..]), v6.each_ref().map(|a| &a[..])] {
                let listed = left.iter().any(|(x, _)| x.port == 40_000 && x.address.is_ipv4() == (a.len() == 4));
                for ports in [(40_000, 443), (40_001, 443), (40_000, 444)] {
                    for flags in [0x10, 0x18, 0x02, 0x12, 0x11, 0x04] {
                        for mut frame in [between(a, b, 0, 6, ports, 0), between(b, a, 0, 6, (ports.1, ports.0), 0)] {
                            let at = frame.len() - 44 + 13;
                            frame[at] = flags;
                            let leaves = listed && ports == (40_000, 443) && flags & 7 == 0;
                            assert_eq!(passes(&frame), !leaves, "{a:?} {ports:?} {flags:#x} {left:?}");
                            frame[0..12].fill(0xff);
                            assert_eq!(passes(&frame), !leaves);
                            // Neither large nor empty: it may be a request.
                            let at = if a.len() == 4 { 16 } else { 18 };
                            for (length, small) in [(52u16, false), (120, true), (999, true), (1000, false), (65_000, false)] {
                                frame[at..at + 2].copy_from_slice(&length.to_be_bytes());
                                assert_eq!(passes(&frame), !leaves || small, "{length}");
                            }
                        }
                    }
                }
                let one_off = |at: usize| {
                    let mut frame = between(a, b, 0, 6, (40_000, 443), 0);
                    frame[at] ^= 1;
                    frame
                };
                // Another kind, another address, other ports: another frame.
                let address = if a.len() == 4 { 26..34 } else { 22..54 };
                for at in [12, 13].into_iter().chain(address).chain(if a.len() == 4 { 34..38 } else { 54..58 }) {
                    assert!(passes(&one_off(at)), "{at}");
                }
                assert!(passes(&between(a, b, 0, 17, (40_000, 443), 0)), "UDP");
                assert!(passes(&between(a, b, 0, 6, (443, 40_000), 0)), "the other way round it is another connection");
                assert!(passes(&between(a, b, 1, 6, (40_000, 443), 0)), "under a tag");
                if a.len() == 4 {
                    assert!(passes(&between(a, b, 0, 6, (40_000, 443), 99)), "a later fragment");
                    assert!(passes(&one_off(14)), "options");
                }
                let whole = between(a, b, 0, 6, (40_000, 443), 0);
                let header = if a.len() == 4 { 54 } else { 74 };
                // A frame has a kind.
                for end in 14..header {
                    assert!(passes(&whole[..end]), "cut after {end}");
                }
            }
        }
    }

    #[test]
    fn what_libpcap_compiled_is_read_as_it_is() {
        let program = Capture::dead(Linktype(1)).unwrap().compile("tcp dst port 443", true).unwrap();
        let all = read(&program).unwrap();
        let frame = |port| between(&[10, 0, 0, 1], &[10, 0, 0, 2], 0, 6, (40_000, port), 0);
        assert_eq!((all.len(), program.filter(&frame(443)), program.filter(&frame(444))), (program.get_instructions().len(), true, false));
        assert_eq!(all.first(), Some(&load(LOAD_HALF, 12)));
        assert!(all.iter().any(|i| (i.code, i.operand) == (IF_EQUAL, 443)));
        assert_eq!(all.last().map(|i| i.code), Some(RETURN));
    }
}
