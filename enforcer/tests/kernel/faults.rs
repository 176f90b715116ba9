//! Faults of one host that have no other home: `README.md` here says which number is tested where.

use crate::{
    blocking::apply,
    lab::{Lab, PORT, SHADOW, blocking, decision, lab, sh, sign},
    talk::{addresses, assert_blocked, assert_flows, serve, shadow, within},
    upkeep::{Running, is_blocked},
};
use enforcer::{
    netlink::Monitor,
    render::{Change, Transaction},
    ruleset::Block,
};
use rules::{decision::Action, endpoint::Endpoint, observation::Outcome};
use std::{fmt::Write, time::Duration};

const LEASE: Duration = Duration::from_secs(60);

/// A block at the shadow server's address.
fn lease(port: u16, was: Option<Action>, renewal: bool) -> Change {
    let decided = decision(SHADOW[0], port, Action::Block);
    let block = Block { action: Action::Block, finding: decided.finding };
    Change::Lease { endpoint: decided.endpoint, block, lease: LEASE, was, renewal }
}

fn left(lab: &Lab, port: u16) -> Option<Duration> {
    let at = Endpoint::new(SHADOW[0].parse().unwrap(), port);
    lab.within("router", move || {
        let mut left = None;
        Monitor::open().unwrap().held(Action::Block, &[at], |_, held| left = held.map(|held| held.left)).unwrap();
        left
    })
}

#[test]
fn fault_13_an_nft_that_hangs_fails_or_is_old_is_said_and_nothing_is_pretended() {
    let Some(lab) = lab() else { return };
    let _ends = serve(&lab);
    for (n, script, said) in [
        (0, "sleep 60", "did not end within"),
        (1, "echo 'nftables v0.9.3 (Topsy)'", "older than"),
        (2, "echo 'another program'", "does not say its version"),
        (3, "echo 'nftables v1.0.6 (x)'; exit 1", "unavailable"),
    ] {
        let nft = lab.data.path().join(format!("nft{n}"));
        std::fs::write(&nft, format!("#!/bin/sh\n{script}\n")).unwrap();
        sh(&format!("chmod +x {}", nft.display()));
        let mut config = lab.config("router");
        (config.nft, config.nft_timeout, config.data) = (nft, rules::period::Period::seconds(1), lab.data.path().join(format!("state{n}")));
        let mut running = Running::start(&lab, config);
        let report = running.report();
        assert!(report.outcome == Outcome::Failed && report.reason.contains(said), "{script}: {}", report.reason);
        running.send(sign(&blocking(1, 60)));
        assert_eq!(running.report().outcome, Outcome::Failed, "{script}");
        assert_flows(&lab, shadow()[0]);
        running.stop();
    }
}

/// What older kernels need (add, delete, add) renews here, too; and so does adding again, which only newer ones do.
#[test]
fn fault_14_a_lease_is_renewed_on_kernels_that_ignore_what_is_added_again() {
    let Some(lab) = lab() else { return };
    apply(&lab, "router", sign(&blocking(1, 3)));
    assert!(left(&lab, PORT).unwrap() <= Duration::from_secs(3));
    for readd in [false, true] {
        let changes = vec![lease(PORT, Some(Action::Block), true)];
        lab.within("router", move || Monitor::open().unwrap().commit(&Transaction { changes }, None, readd).unwrap());
        assert!(left(&lab, PORT).unwrap() > LEASE - Duration::from_secs(10), "{readd}");
        lab.within("router", move || {
            let short = match lease(PORT, Some(Action::Block), false) {
                Change::Lease { endpoint, block, was, renewal, .. } => {
                    Change::Lease { endpoint, block, was, renewal, lease: Duration::from_secs(3) }
                }
                other => other,
            };
            Monitor::open().unwrap().commit(&Transaction { changes: vec![short] }, None, readd).unwrap()
        });
        assert!(left(&lab, PORT).unwrap() <= Duration::from_secs(3), "{readd}");
    }
}

/// Others restart: `/etc/nftables.conf` flushes everything, then theirs comes back as it was. Tables as Docker, libvirt and ufw make
/// them, by Debian's own iptables-nft, and one of firewalld's shape.
#[test]
fn fault_18_others_restart_and_theirs_is_untouched_and_ours_is_back() {
    let Some(lab) = lab() else { return };
    let _ends = serve(&lab);
    others(&lab);
    for to in addresses() {
        assert_flows(&lab, to);
    }
    // Installed, enforced, removed: not a byte of theirs is other.
    let found = lab.nft("router", "-s list ruleset");
    apply(&lab, "router", sign(&blocking(1, 60)));
    remove(&lab);
    assert!(lab.nft("router", "-s list ruleset") == found, "what others made is not what it was");
    // As nft itself writes them back, which is not always as iptables made them.
    let restart = lab.data.path().join("restart.nft");
    std::fs::write(&restart, format!("flush ruleset\n{found}")).unwrap();
    lab.nft("router", &format!("-f {}", restart.display()));
    let theirs = lab.nft("router", "-s list ruleset");
    let mut running = Running::start(&lab, enforcer::Config { data: lab.data.path().join("anew"), ..lab.config("router") });
    running.send(sign(&blocking(2, 60)));
    let first = running.report();
    assert_eq!(first.outcome, Outcome::Applied, "{}", first.reason);
    for _ in 0..2 {
        lab.nft("router", &format!("-f {}", restart.display()));
        // Said again meanwhile: that Docker's kind of table translates destinations.
        let mended = (0..5).map(|_| running.report()).find(|said| said.reason != first.reason).unwrap();
        assert!(mended.outcome == Outcome::Applied && mended.reason.contains("nft (pid "), "{}", mended.reason);
        for to in shadow() {
            assert_blocked(&lab, to);
        }
        for to in addresses().into_iter().skip(2) {
            assert_flows(&lab, to);
        }
    }
    running.stop();
    remove(&lab);
    assert!(lab.nft("router", "-s list ruleset") == theirs, "what others made is not what it was");
}

fn remove(lab: &Lab) {
    let config = lab.config("router");
    lab.run("router", move || async move { enforcer::remove(&config).await }).unwrap();
}

fn others(lab: &Lab) {
    let restore = lab.data.path().join("others.v4");
    std::fs::write(
        &restore,
        "*nat\n:DOCKER - [0:0]\n-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER\n-A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE\n\
         -A DOCKER ! -i docker0 -p tcp -m tcp --dport 8080 -j DNAT --to-destination 172.17.0.2:80\nCOMMIT\n\
         *filter\n:DOCKER-USER - [0:0]\n:LIBVIRT_FWO - [0:0]\n:ufw-before-forward - [0:0]\n-A FORWARD -j DOCKER-USER\n-A FORWARD -j LIBVIRT_FWO\n\
         -A FORWARD -j ufw-before-forward\n-A LIBVIRT_FWO -s 192.168.122.0/24 -i virbr0 -j ACCEPT\n\
         -A ufw-before-forward -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n-A DOCKER-USER -j RETURN\nCOMMIT\n",
    )
    .unwrap();
    sh(&format!("ip netns exec {} iptables-nft-restore {}", lab.ns("router"), restore.display()));
    let firewalld = lab.data.path().join("firewalld.nft");
    let table = "table inet firewalld {\n chain filter_FORWARD { type filter hook forward priority filter + 10; policy accept;\n ct state { established, related } accept\n ct status dnat accept\n }\n}\n";
    std::fs::write(&firewalld, table).unwrap();
    lab.nft("router", &format!("-f {}", firewalld.display()));
}

/// So many messages at once that the kernel drops some: what was lost is looked for.
#[test]
fn fault_19_a_change_of_ours_is_found_in_a_flood_of_others() {
    let Some(lab) = lab() else { return };
    let _ends = serve(&lab);
    let mut running = Running::start(&lab, lab.config("router"));
    running.send(sign(&blocking(1, 600)));
    assert_eq!(running.report().outcome, Outcome::Applied);
    let mut flood = String::from("add table ip flood\nadd set ip flood s { type ipv4_addr; }\nadd element ip flood s { ");
    for n in 0..120_000u32 {
        write!(flood, "{}, ", std::net::Ipv4Addr::from(0x0b00_0000 + n)).unwrap();
    }
    write!(flood, "}}\ndelete element inet gnomon block4 {{ {} . {PORT} }}\n", SHADOW[0]).unwrap();
    let file = lab.data.path().join("flood.nft");
    std::fs::write(&file, flood).unwrap();
    lab.nft("router", &format!("-f {}", file.display()));
    assert!(running.report().reason.starts_with("restored"));
    within(Duration::from_secs(1), || is_blocked(&lab));
    running.stop();
}

#[test]
fn fault_21_22_one_bad_element_and_nothing_of_the_batch_is_done() {
    let Some(lab) = lab() else { return };
    apply(&lab, "router", sign(&blocking(1, 60)));
    // Ranges that overlap, which no planner of ours makes, beside elements that are good.
    let refused = lab.within("router", || {
        let overlapping = ["10.91.0.0/16", "10.91.7.0/24"].map(|n| n.parse().unwrap()).into();
        let agents = Change::Agents(overlapping, Duration::from_secs(60));
        Monitor::open().unwrap().commit(
            &Transaction { changes: vec![lease(4001, None, false), agents, lease(4002, None, false)] },
            None,
            true,
        )
    });
    assert!(refused.is_err());
    assert_eq!((left(&lab, 4001), left(&lab, 4002)), (None, None));
    assert!(left(&lab, PORT).is_some());
    // A batch made for a ruleset that is no more.
    let late = lab.within("router", || {
        let kernel = Monitor::open().unwrap();
        let past = kernel.generation().unwrap() - 1;
        kernel.commit(&Transaction { changes: vec![lease(4001, None, false)] }, Some(past), true)
    });
    assert_eq!(late.unwrap_err().raw_os_error(), Some(nix::errno::Errno::ERESTART as i32));
    assert_eq!(left(&lab, 4001), None);
    let timely = lab.within("router", || {
        let kernel = Monitor::open().unwrap();
        kernel.commit(&Transaction { changes: vec![lease(4001, None, false)] }, Some(kernel.generation().unwrap()), true)
    });
    assert_eq!(timely.unwrap(), 1);
    assert!(left(&lab, 4001).is_some());
}
