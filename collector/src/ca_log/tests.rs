use super::*;

/// A line as step-ca 0.28 writes it for `POST /1.0/sign`, one of an older release, a request that issues nothing, a refusal,
/// and what it says while it starts.
const STEP_CA: &str = r#"2026/11/01 09:00:00 Starting Smallstep CA/0.28.3 (linux/amd64)
{"duration":"41.2ms","duration-ns":41200000,"fields.time":"2026-11-03T10:00:05Z","issuer":"Corp Intermediate CA","level":"info","method":"POST","msg":"","name":"ca","ott":"eyJhbGciOiJFUzI1NiJ9.e30.x","path":"/1.0/sign","protocol":"HTTP/2.0","provisioner":"agents (kid-1)","public-key":"ECDSA P-256","referer":"","remote-address":"10.0.9.9","request-id":"d1","sans":{"dns":["Files.corp.example"],"ip":["10.0.0.1"]},"serial":"286441713871623","size":2931,"status":201,"subject":"files.corp.example","time":"2026-11-03T10:00:05Z","user-agent":"step/0.28","valid-from":"2026-11-03T09:59:05Z","valid-to":"2026-11-04T10:00:05Z"}
{"level":"info","method":"POST","name":"ca","path":"/renew","serial":99,"status":201,"subject":"agent-7","valid-from":"2026-11-03T09:59:05+01:00","valid-to":"2026-11-04T10:00:05+01:00","certificate":"bm90IGEgY2VydGlmaWNhdGU="}
{"level":"info","method":"GET","name":"ca","path":"/health","status":200,"time":"2026-11-03T10:00:06Z"}
{"error":"unauthorized","level":"warning","method":"POST","path":"/sign","status":401,"subject":"x","valid-from":"2026-11-03T09:59:05Z","valid-to":"2026-11-04T10:00:05Z"}
"#;

/// Vault's file audit device: request and response of `pki_int/issue/mcp`, one with the names left readable by tuning, one as
/// it is by default; a login; a failure.
const VAULT: &str = r#"{"time":"2026-11-03T10:00:05.1Z","type":"request","auth":{"client_token":"hmac-sha256:aa"},"request":{"id":"r1","operation":"update","mount_type":"pki","path":"pki_int/issue/mcp","data":{"common_name":"agent-7","ip_sans":"10.0.9.9","ttl":"24h"}}}
{"time":"2026-11-03T10:00:05.2Z","type":"response","auth":{"client_token":"hmac-sha256:aa"},"request":{"id":"r1","operation":"update","mount_type":"pki","path":"pki_int/issue/mcp","data":{"alt_names":"a.corp.example,b.corp.example","common_name":"agent-7","ip_sans":"10.0.9.9"}},"response":{"mount_type":"pki","data":{"certificate":"hmac-sha256:bb","expiration":1793872805,"serial_number":"39:dd:2e"}}}
{"time":"2026-11-03T10:00:06.2Z","type":"response","request":{"mount_type":"pki","path":"pki_int/issue/mcp","data":{"common_name":"hmac-sha256:cc"}},"response":{"data":{"certificate":"hmac-sha256:dd","expiration":1793872805,"serial_number":"hmac-sha256:ee"}}}
{"time":"2026-11-03T10:00:07.2Z","type":"response","request":{"mount_type":"kv","path":"secret/data/sign/x"},"response":{}}
{"time":"2026-11-03T10:00:08.2Z","type":"response","error":"1 error occurred: permission denied","request":{"mount_type":"pki","path":"pki_int/issue/mcp","data":{"common_name":"evil"}}}
"#;

const CSV: &str = "\u{feff}Serial,Common Name,SANs,Not Before,Not After\r
01,\"CN=wiki.corp.example,O=\"\"Corp\"\"\",DNS:wiki.corp.example;IP:10.0.0.2,2026-11-01 00:00:00,2027-02-01\r
02,broken,,2026-11-01,soon\r
03,\"open\r
";

fn read(text: &str) -> CaLog {
    CaLog::read(text.as_bytes()).unwrap()
}

fn said(log: &CaLog) -> Vec<String> {
    let names = |i: &Issued| i.names.iter().cloned().collect::<Vec<_>>().join(" ");
    let until = |i: &Issued| i.expires.map(|t| t.to_string()).unwrap_or_default();
    log.issued.iter().map(|i| format!("{} [{}] {} - {}", i.serial, names(i), i.at, until(i))).collect()
}

#[test]
fn step_ca_says_what_it_issued_among_other_things() {
    let log = read(STEP_CA);
    assert_eq!(
        said(&log),
        [
            "286441713871623 [10.0.0.1 files.corp.example] 2026-11-03T09:59:05Z - 2026-11-04T10:00:05Z",
            "99 [agent-7] 2026-11-03T08:59:05Z - 2026-11-04T09:00:05Z"
        ]
    );
    assert_eq!((log.lines, log.unusable, log.told[0].0), (5, 1, 1), "the line it starts with is told, and costs nothing");
}

#[test]
fn vault_is_read_where_it_lets_itself_be_read_and_hashed_names_are_told_with_the_remedy() {
    let log = read(VAULT);
    assert_eq!(said(&log), ["39:dd:2e [10.0.9.9 a.corp.example agent-7 b.corp.example] 2026-11-03T10:00:05.2Z - 2026-11-05T10:00:05Z"]);
    assert_eq!((log.unusable, log.told[0].0), (1, 3));
    assert!(log.told[0].1.contains("audit-non-hmac-request-keys"), "{:?}", log.told);
}

#[test]
fn csv_is_read_by_its_header_and_told_by_line() {
    let log = read(CSV);
    assert_eq!(said(&log), ["01 [10.0.0.2 wiki.corp.example] 2026-11-01T00:00:00Z - 2027-02-01T00:00:00Z"]);
    assert_eq!(log.told, [(3, "`soon` is no time of expiry".to_owned()), (4, "a quote that does not end".to_owned())]);
}

#[test]
fn json_lines_of_any_ca() {
    let log = read("{\"cn\":\"a\",\"names\":[\"b\"],\"issued\":1793786400,\"expires\":\"2026-12-01T00:00:00Z\"}\n{\"hello\":1}\n{\n");
    assert_eq!(said(&log), [" [a b] 2026-11-04T10:00:00Z - 2026-12-01T00:00:00Z"]);
    assert_eq!((log.unusable, log.told[0].0), (1, 3));
}

#[test]
fn a_line_without_end_is_passed_over() {
    let long = format!("{{\"x\":\"{}\"}}\n", "a".repeat(3 << 20));
    let log = read(&format!("{long}{{\"cn\":\"a\",\"issued\":1,\"expires\":2}}\n{}", "x".repeat(2 << 20)));
    assert_eq!((log.issued.len(), log.lines, log.unusable), (1, 3, 2));
}
