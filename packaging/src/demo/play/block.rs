//! The block, what it leaves alone, how it is lifted, and the end.

use super::{
    DECOYS, Failure, NOTES, PORT, Play, SEARCH, SOON, TICKETS, Teller, Trouble, agent, day, notice,
    notice::{Streams, letter},
    opening, unset, until, url, v4, v6,
};
use crate::table::word;
use rules::admission::Escalation;

/// The deadline comes.
pub(super) fn block(play: &mut Play, teller: &mut Teller, streams: Streams) -> Result<(), Failure> {
    teller.scene("The deadline: the block")?;
    let patience = day(30.0, play.day) + SOON;
    for (address, stream) in streams.0 {
        let cut = match stream.end(patience) {
            Trouble::Reset => Ok("ECONNRESET".to_owned()),
            other => Err(other.to_string()),
        };
        teller.claim(&format!("the agent's open stream from {address} is cut"), cut)?;
    }
    let escalation = until(SOON, || {
        let f = play.finding(v4(NOTES))?;
        let early = f.blocked_at.zip(f.deadline).is_some_and(|(blocked, deadline)| blocked < deadline);
        if f.escalation == Escalation::Blocked && !early { Ok(f.status) } else { Err(format!("{}, {}", word(&f.escalation), f.status)) }
    });
    teller.claim("not before its deadline, and the finding says so", escalation)?;
    for (name, n, tool) in [("notes", NOTES, "read-note"), ("search", SEARCH, "find-page")] {
        for address in [v4(n), v6(n)] {
            let refused = until(SOON, || play.refused(&play.direct(address), tool));
            teller.claim(&format!("a new connection to {name} at {address} is refused"), refused)?;
        }
    }
    let finding = play.finding(v4(NOTES)).map_err(|why| play.stuck("the finding is gone", why))?;
    let told = letter(play, &finding, "blocked", SOON).map(|l| notice::text(&l, "subject"));
    teller.claim("the owner is told of the block", told)?;
    kernel(play, teller)?;
    others(play, teller)
}

/// What the kernel holds.
fn kernel(play: &Play, teller: &mut Teller) -> Result<(), Failure> {
    let listed = play.stage.router.run("nft", &["list", "table", "inet", "gnomon"]).map_err(|why| why.to_string());
    let elements = listed.and_then(|text| {
        let of = |needle: &str| text.lines().filter(|l| l.contains(needle)).map(|l| l.trim().to_owned()).collect::<Vec<_>>();
        let (four, six) = (of(&v4(NOTES).to_string()), of(&v6(NOTES).to_string()));
        match (four.first(), six.first()) {
            (Some(line), Some(_)) if line.contains("expires") => Ok(line.clone()),
            _ => Err(format!("not in the ruleset as a lease: {text}")),
        }
    });
    teller.claim("the kernel holds it as a lease that ends by itself", elements)?;
    Ok(())
}

/// What a block must leave alone.
fn others(play: &Play, teller: &mut Teller) -> Result<(), Failure> {
    let person = play.call_as(&play.stage.person, &play.direct(v4(NOTES)), "read-note");
    teller.claim("a person, who is in no agent range, still reaches notes", person)?;
    let direct = play.call(&play.direct(v6(TICKETS)), "list-tickets");
    teller.claim("the registered server is never cut", direct)?;
    for n in DECOYS {
        let path = if n == 33 { "/mcp" } else { "/" };
        let answered = agent::get(&play.stage.agent, &url(v4(n), PORT, path)).map_err(unset)?;
        teller.claim(&format!("{} still answers the agent", v4(n)), answered.map(|s| format!("HTTP {s}")).map_err(|t| t.to_string()))?;
    }
    let gateway = play.call(&play.through_gateway("tickets"), "list-tickets");
    teller.claim("the registered path through the gateway works", gateway)?;
    Ok(())
}

/// The owner of notes registers it.
pub(super) fn registration(play: &mut Play, teller: &mut Teller) -> Result<(), Failure> {
    teller.scene("The owner registers notes: its block is lifted")?;
    let urls = [v4(NOTES), v6(NOTES)].map(|a| url(a, PORT, "/mcp"));
    let add =
        ["registry", "add", "--slug", "notes", "--owner", "ada", "--contact", "ada@corp.example", "--url", &urls[0], "--url", &urls[1]];
    teller.say(format!("$ gnomon {}", add.join(" ")))?;
    let finding = play.finding(v4(NOTES)).map_err(|why| play.stuck("the finding is gone", why))?;
    let registered = play.product.ask(&play.stage, &add).map(|_| String::new());
    teller.claim("notes is registered", registered)?;
    for address in [v4(NOTES), v6(NOTES)] {
        let flows = until(SOON, || play.call(&play.direct(address), "read-note"));
        teller.claim(&format!("the agent reaches notes at {address} again"), flows)?;
    }
    let closed = until(SOON, || {
        let f = play.finding(v4(NOTES))?;
        if f.escalation == Escalation::Closed { Ok(f.status) } else { Err(f.status) }
    });
    teller.claim("its finding closed itself", closed)?;
    let told = letter(play, &finding, "released", SOON).map(|l| notice::text(&l, "subject"));
    teller.claim("the owner is told that it is over", told)?;
    grant_and_call(play, teller)?;
    let still = play.refused(&play.direct(v6(SEARCH)), "find-page");
    teller.claim("search, which nobody registered, stays blocked", still)?;
    Ok(())
}

fn grant_and_call(play: &mut Play, teller: &mut Teller) -> Result<(), Failure> {
    opening::grant(play, teller, "notes", "read-note")?;
    let target = play.through_gateway("notes");
    let called = until(SOON, || play.call(&target, "read-note"));
    teller.claim("notes is now on the registered path, too", called)?;
    Ok(())
}

/// The product stops, and takes its rules with it.
pub(super) fn farewell(play: &mut Play, teller: &mut Teller) -> Result<(), Failure> {
    teller.scene("The end: nothing stays behind")?;
    for (name, process) in std::mem::take(&mut play.roles).into_iter().rev() {
        let ended = match play.stage.world.end(process) {
            Some(status) if status.success() => Ok(String::new()),
            Some(status) => Err(format!("{status}\n{}", play.stage.log(&name))),
            None => Err("it had to be killed".to_owned()),
        };
        teller.claim(&format!("gnomon {name} ends cleanly when asked"), ended)?;
    }
    let rules = play.stage.router.run("nft", &["list", "ruleset"]).map_err(|why| why.to_string());
    let empty = rules.and_then(|text| if text.trim().is_empty() { Ok("nft list ruleset is empty".to_owned()) } else { Err(text) });
    teller.claim("the router's firewall is as it was found", empty)?;
    let flows = play.call(&play.direct(v6(SEARCH)), "find-page");
    teller.claim("and what was blocked flows again", flows)?;
    Ok(())
}
