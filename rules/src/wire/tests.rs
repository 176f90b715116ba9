use super::strict;
use crate::access::Grant;

#[test]
fn a_slip_of_the_pen_is_named() {
    let good = br#"{"id":"g","tenant":"acme","slug":"files","tools":["*"]}"#;
    assert_eq!(strict::<Grant>(good).unwrap().subject, None);
    let slip = br#"{"id":"g","tenant":"acme","slug":"files","tools":["*"],"subjct":"eve"}"#;
    assert_eq!(strict::<Grant>(slip).unwrap_err(), "unknown field `subjct`");
    assert!(strict::<Grant>(b"{").unwrap_err().contains("JSON"));
}
