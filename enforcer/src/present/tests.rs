use super::*;
use expect_test::expect;

/// As nft 1.0.6 printed it, shortened.
const LISTING: &str = r#"{"nftables": [{"metainfo": {"version": "1.0.6", "json_schema_version": 1}}, {"table": {"family": "inet", "name": "gnomon", "handle": 1}},
{"counter": {"family": "inet", "name": "blocked", "table": "gnomon", "handle": 8, "packets": 0, "bytes": 0}},
{"set": {"family": "inet", "name": "agents4", "table": "gnomon", "type": "ipv4_addr", "handle": 1, "flags": ["interval", "timeout"], "elem": [{"elem": {"val": {"prefix": {"addr": "10.0.0.0", "len": 8}}, "timeout": 90, "expires": 88}}, {"elem": {"val": {"range": ["192.168.1.0", "192.168.1.127"]}, "timeout": 90, "expires": 80}}]}},
{"set": {"family": "inet", "name": "never4", "table": "gnomon", "type": "ipv4_addr", "handle": 3, "flags": ["interval"], "elem": ["10.1.0.1", {"prefix": {"addr": "127.0.0.0", "len": 8}}]}},
{"set": {"family": "inet", "name": "open4", "table": "gnomon", "type": ["ipv4_addr", "inet_service"], "handle": 3, "elem": [{"concat": ["10.2.0.9", 7413]}]}},
{"set": {"family": "inet", "name": "block4", "table": "gnomon", "type": ["ipv4_addr", "inet_service"], "handle": 5, "flags": ["timeout"], "elem": [
{"elem": {"val": {"concat": ["10.0.0.5", 3001]}, "timeout": 90, "expires": 89, "comment": "F-00000001", "counter": {"packets": 3, "bytes": 180}}},
{"elem": {"val": {"concat": ["10.0.0.7", 3001]}, "timeout": 90, "expires": 9, "comment": "F-00000003", "counter": {"packets": 0, "bytes": 0}}},
{"concat": ["10.0.0.8", 3001]}], "stmt": [{"counter": null}]}},
{"set": {"family": "inet", "name": "shadow4", "table": "gnomon", "type": ["ipv4_addr", "inet_service"], "handle": 7, "flags": ["timeout"], "elem": [
{"elem": {"val": {"concat": ["10.0.0.6", 3001]}, "timeout": 90, "expires": 0, "comment": "mine", "counter": {"packets": 0, "bytes": 0}}},
{"elem": {"val": {"concat": ["10.0.0.7", 3001]}, "timeout": 90, "expires": 9}}], "stmt": [{"counter": null}]}},
{"map": {"family": "inet", "name": "blk9", "table": "gnomon", "type": ["ipv4_addr", "inet_service"], "handle": 9, "map": "verdict", "elem": [[{"concat": ["10.0.0.8", 3001]}, {"accept": null}]]}},
{"chain": {"family": "inet", "table": "gnomon", "name": "judge", "handle": 11}},
{"chain": {"family": "inet", "table": "gnomon", "name": "on_output", "handle": 24, "type": "filter", "hook": "output", "prio": -10, "policy": "accept"}},
{"rule": {"family": "inet", "table": "gnomon", "chain": "on_output", "handle": 25, "expr": [{"jump": {"target": "judge"}}]}}]}"#;

/// As nft 1.0.6 prints a table that is dormant, and as later ones do.
#[test]
fn a_table_that_sleeps_is_not_whole() {
    let awake = LISTING.replace(", {\"concat\": [\"10.0.0.8\", 3001]}", "");
    assert!(!parse(awake.as_bytes()).unwrap().skeleton.contains("table "));
    for flags in [r#""gnomon""#, r#""dormant""#, r#"["dormant"]"#] {
        let asleep = awake.replacen(r#""handle": 1}}"#, &format!(r#""handle": 1, "flags": {flags}}}}}"#), 1);
        assert!(parse(asleep.as_bytes()).unwrap().skeleton.starts_with("table "), "{flags}");
    }
}

#[test]
fn reads_what_nft_prints_and_sorts_out_what_is_not_ours() {
    expect![[r#"
        Present {
            skeleton: "set agents4 \"ipv4_addr\" [\"interval\",\"timeout\"]\nset never4 \"ipv4_addr\" [\"interval\"]\nset open4 [\"ipv4_addr\",\"inet_service\"] null\nset block4 [\"ipv4_addr\",\"inet_service\"] [\"timeout\"]\nset shadow4 [\"ipv4_addr\",\"inet_service\"] [\"timeout\"]\nmap blk9\nchain judge\nchain on_output output -10 accept\nrule on_output [{\"jump\":{\"target\":\"judge\"}}]\n",
            agents: {
                10.0.0.0/8,
                192.168.1.0/25,
            },
            agents_left: 80s,
            never: {
                10.1.0.1/32,
                127.0.0.0/8,
            },
            open: {
                Endpoint {
                    address: 10.2.0.9,
                    port: 7413,
                },
            },
            sessions: {},
            blocks: {
                Endpoint {
                    address: 10.0.0.5,
                    port: 3001,
                }: KernelBlock {
                    action: Block,
                    finding: Some(
                        FindingId(
                            "F-00000001",
                        ),
                    ),
                    left: 89s,
                    packets: 3,
                    bytes: 180,
                },
                Endpoint {
                    address: 10.0.0.6,
                    port: 3001,
                }: KernelBlock {
                    action: Shadow,
                    finding: None,
                    left: 0ns,
                    packets: 0,
                    bytes: 0,
                },
                Endpoint {
                    address: 10.0.0.7,
                    port: 3001,
                }: KernelBlock {
                    action: Shadow,
                    finding: None,
                    left: 9s,
                    packets: 0,
                    bytes: 0,
                },
            },
            foreign: [
                "a block: 10.0.0.8 . 3001",
                "10.0.0.7:3001: twice",
            ],
        }"#]].assert_eq(&format!("{:#?}", parse(LISTING.as_bytes()).unwrap()));
}

#[test]
fn any_cut_of_it_is_unreadable_and_nothing_worse() {
    for cut in (0..LISTING.len() - 1).step_by(7) {
        assert!(parse(&LISTING.as_bytes()[..cut]).is_err());
    }
}

#[test]
fn leases_run_down_in_memory_as_they_do_in_the_kernel() {
    let aged = parse(LISTING.as_bytes()).unwrap().aged(Duration::from_secs(60));
    assert_eq!(aged.agents_left, Duration::from_secs(20));
    assert_eq!(aged.blocks.values().map(|h| h.left.as_secs()).collect::<Vec<_>>(), [29]);
}
