use super::*;

/// A frame: length, type, flags, stream, payload.
fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
    out.extend([kind, flags, 0, 0, 0, stream]);
    out.extend(payload);
    out
}

fn pieces(reader: &mut Reader, mut input: &[u8]) -> Vec<String> {
    let mut out = Vec::new();
    while let Some(piece) = reader.next(&mut input) {
        out.push(match piece {
            Piece::Headers { stream, block, end } => format!("headers {stream} {block:?} {end}"),
            Piece::Data { stream, bytes } => format!("data {stream} {}", String::from_utf8_lossy(bytes)),
            other => format!("{other:?}"),
        });
    }
    out
}

#[test]
fn padding_priority_and_continuations_are_taken_off() {
    let mut wire = PREFACE.to_vec();
    wire.extend(frame(4, 0, 0, &[]));
    wire.extend(frame(1, 0x08 | 0x20, 1, &[2, 0, 0, 0, 0, 16, 0x82, 0xff, 0xff]));
    wire.extend(frame(9, 0x4, 1, &[0x84]));
    wire.extend(frame(0, 0x8 | 0x1, 1, &[3, b'h', b'i', 0, 0, 0]));
    let expected = ["headers 1 [130, 132] false", "data 1 hi", "End { stream: 1 }"];
    assert_eq!(pieces(&mut Reader::new(true), &wire), expected);
    // Byte by byte the data comes in parts; the rest is the same.
    let mut reader = Reader::new(true);
    let split: Vec<String> = wire.iter().flat_map(|b| pieces(&mut reader, &[*b])).collect();
    assert_eq!(split, ["headers 1 [130, 132] false", "data 1 h", "data 1 i", "End { stream: 1 }"]);
}

#[test]
fn a_flood_of_continuations_is_given_up_on() {
    let mut reader = Reader::new(false);
    let mut seen = pieces(&mut reader, &frame(1, 0, 1, &[0; 16_000]));
    for _ in 0..10 {
        seen.extend(pieces(&mut reader, &frame(9, 0, 1, &[0; 16_000])));
    }
    assert!(seen.contains(&"LostBlock".to_owned()) && !seen.iter().any(|s| s.starts_with("headers")));
}

#[test]
fn only_frames_look_like_the_middle_of_a_connection() {
    assert!(Connection::joins(&frame(0, 1, 3, b"{}")));
    assert!(Connection::joins(&[frame(8, 0, 0, &[0, 0, 1, 0]), frame(0, 0, 3, b"{}")[..10].to_vec()].concat()));
    for other in
        [&b"GET / HTTP/1.1\r\n\r\n"[..], b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00", b"SSH-2.0-OpenSSH_9.2\r\n", &[0; 40], b"{\"a\":1}\n"]
    {
        assert!(!Connection::joins(other), "{other:?}");
    }
}
