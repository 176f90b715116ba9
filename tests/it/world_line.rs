//! The straight line with every role in a process of its own, and the demo, which has them in one.

use crate::lab::{self, words};
use gnomon::demo::{
    agent::{self, Target, Trouble},
    cast::Role,
    product::{Product, until},
    shelter,
    stage::{url, v4},
};
use rules::{admission::Escalation, finding::FindingKind, policy::Mode, wire::v1::FindingReport};
use serde_json::Value;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(30);

fn shadow(product: &Product, n: u8) -> Result<FindingReport, String> {
    let all = product.findings()?;
    let mine = all.into_iter().find(|f| f.kind == FindingKind::Shadow && f.address == Some(v4(n)));
    mine.ok_or_else(|| format!("no shadow finding about {}", v4(n)))
}

#[test]
fn roles_in_processes_of_their_own_find_tell_block_and_release() {
    let Some(mut lab) = lab::enter() else { return };
    let notes = lab.stage.server("notes", 21).unwrap();
    lab.stage.cast(&notes, Role::Sessions, "notes", &["read"]).unwrap();
    let letterbox = lab.letterbox();
    let (hq, router) = (lab.stage.hq.clone(), lab.stage.router.clone());
    let toml = lab.settings(2, Duration::from_millis(300), &[21], &[3001]).toml();
    let product = Product::prepare(&lab.stage, &hq, "collector", &toml).unwrap();
    product.start(&mut lab.stage, "collector").unwrap_or_else(|why| panic!("{why}\n{}", words(&lab.stage, &["collector"])));

    let config = product.config.to_str().unwrap().to_owned();
    let sets = lab.stage.path("set.json").to_str().unwrap().to_owned();
    let key: Value = product.get(&["verifying-key"]).unwrap();
    let key = key.get("public_key").and_then(Value::as_str).unwrap().to_owned();
    lab.join(&product, &router, "sensor", "sensor", &["--config", &config]);
    lab.join(&product, &router, "courier", "courier", &["--sets", &sets]);
    let enforcer = lab.role(&router, "enforcer", "enforcer", &["--config", &config, "--sets", &sets, "--trust", &key, "--enforce"]);
    let fail =
        |lab: &lab::Lab, why: String| -> ! { panic!("{why}\n{}", words(&lab.stage, &["collector", "sensor", "courier", "enforcer"])) };

    // Positive control: the agent works, and is seen.
    let target = Target::new(&url(v4(21), 3001, "/mcp"), Role::Sessions);
    let call = |lab: &lab::Lab| agent::call(&lab.stage.agent, &target, "read").unwrap();
    call(&lab).unwrap();
    let found = until(SOON, || shadow(&product, 21)).unwrap_or_else(|why| fail(&lab, why));
    assert_eq!((found.notified_at, letterbox.letters().len()), (None, 0), "nobody is told in observe mode");
    let stream = agent::listen(&lab.stage.agent, &target).unwrap();
    stream.next(SOON).unwrap();
    product.set_policy(|p| p.mode = Mode::Hard).unwrap();

    let told = until(SOON, || shadow(&product, 21).and_then(|f| f.notified_at.map(|_| f).ok_or("not told yet".into())));
    let told = told.unwrap_or_else(|why| fail(&lab, why));
    call(&lab).expect("before the deadline nothing is cut");
    assert_eq!(stream.end(SOON), Trouble::Reset, "{}", words(&lab.stage, &["enforcer", "courier"]));
    let blocked = shadow(&product, 21).unwrap();
    assert_eq!((blocked.escalation, blocked.notified_at, blocked.deadline), (Escalation::Blocked, told.notified_at, told.deadline));
    assert!(blocked.blocked_at >= blocked.deadline);
    assert_eq!(call(&lab), Err(Trouble::Refused));
    agent::call(&lab.stage.person, &target, "read").unwrap().expect("a person is in no agent range");
    // The enforcer's word comes back.
    let reported = until(SOON, || {
        let plan: Value = product.get(&["enforce", "plan"])?;
        let said = plan.pointer("/points").and_then(Value::as_object).into_iter().flatten();
        let mut generations = said.filter_map(|(_, applied)| applied.get("generation")?.as_u64());
        generations.next().ok_or_else(|| format!("no word from an enforcement point: {plan}"))
    });
    let reported = reported.unwrap_or_else(|why| fail(&lab, why));
    assert!(reported > 0);

    let address = url(v4(21), 3001, "/mcp");
    lab.ask(&product, &["registry", "add", "--slug", "notes", "--owner", "ada", "--contact", "ada@corp.example", "--url", &address]);
    until(SOON, || call(&lab).map_err(|t| format!("{t:?}"))).unwrap_or_else(|why| fail(&lab, why));
    let closed = until(SOON, || shadow(&product, 21).and_then(|f| if f.escalation == Escalation::Closed { Ok(f) } else { Err(f.status) }));
    closed.unwrap_or_else(|why| fail(&lab, why));

    assert!(lab.stage.world.end(enforcer).is_some_and(|s| s.success()), "{}", words(&lab.stage, &["enforcer"]));
    assert_eq!(router.run("nft", &["list", "ruleset"]).unwrap().trim(), "", "the router's firewall is as it was");
}

#[test]
fn the_demo_holds_what_it_claims_and_leaves_nothing_behind() {
    // The lab is not used, but its turn is: the demo measures days in half seconds.
    let Some(_lab) = lab::enter() else { return };
    let before = shelter::Surroundings::look();
    let done = std::process::Command::new(lab::gnomon()).args(["--json", "demo"]).output().unwrap();
    let out = String::from_utf8_lossy(&done.stdout);
    let lines: Vec<Value> = out.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let claims: Vec<&Value> = lines.iter().filter(|l| l.get("claim").is_some()).collect();
    let failed: Vec<&&Value> = claims.iter().filter(|c| c.get("holds") != Some(&Value::Bool(true))).collect();
    assert!(failed.is_empty(), "{failed:#?}\n{}", String::from_utf8_lossy(&done.stderr));
    assert_eq!(done.status.code(), Some(0), "{}", String::from_utf8_lossy(&done.stderr));
    assert!(claims.len() >= 50, "only {} claims", claims.len());
    assert_eq!(shelter::Surroundings::look().differences(&before), Vec::<String>::new());
}
