//! Sweeps against a made-up network: who is asked, how often, how fast, and how a sweep ends.

use super::*;
use crate::probe::{
    answer::HttpAnswer,
    http1::Head,
    targets::{Limits, Target, parse},
};
use std::collections::VecDeque;

fn space(target: &str, ports: &[u16]) -> Space {
    let limits =
        Limits { allow_public: false, allow: Vec::new(), max_addresses: 65_536, exclude: Vec::new(), exclude_ports: BTreeSet::new() };
    let Ok(Target::Block(first, last)) = parse(target) else { panic!("{target}") };
    Space::new(&[(first, last)], ports, &limits).unwrap()
}

fn sweep(space: Space, rate: u32) -> Sweep {
    Sweep::new(
        Arc::new(space),
        7,
        Options::default(),
        Bounds { concurrency: 16, rate, per_host_rate: 10, per_subnet_rate: 1000 },
        Instant::now(),
    )
}

fn not_found() -> Outcome {
    Outcome::Answer(Box::new(HttpAnswer {
        head: Head { status: 404, headers: vec![("server".into(), "uvicorn".into())] },
        ..HttpAnswer::default()
    }))
}

/// Runs to the end on a clock of its own, every answer after `latency`; when each question left.
fn play(mut sweep: Sweep, latency: Duration, mut network: impl FnMut(&Question, usize) -> Outcome) -> (Vec<(Duration, Question)>, Sweep) {
    let start = Instant::now();
    let (mut now, mut asked, mut answers) = (start, Vec::new(), VecDeque::<(Instant, Question)>::new());
    let mut event = Event::Tick;
    for _ in 0..1_000_000 {
        for effect in sweep.handle(event, now, Timestamp::UNIX_EPOCH) {
            if let Effect::Ask(question) = effect {
                asked.push((now - start, question.clone()));
                answers.push_back((now + latency, question));
            }
        }
        assert!(answers.len() <= 16, "more under way than allowed");
        if sweep.is_done() {
            return (asked, sweep);
        }
        let answer = answers.front().map(|(at, _)| *at);
        let wake = sweep.wake_at(now);
        now = [answer, wake].into_iter().flatten().min().expect("a sweep that waits for nothing").max(now);
        event = match answers.front() {
            Some((at, _)) if *at <= now => {
                let (_, question) = answers.pop_front().unwrap();
                let outcome = network(&question, asked.len());
                Event::Answered(Box::new((question, outcome)))
            }
            _ => Event::Tick,
        };
    }
    panic!("a sweep without end");
}

#[test]
fn every_endpoint_is_asked_and_no_second_sees_more_than_the_rate() {
    let (asked, sweep) = play(sweep(space("10.0.0.0/22", &[80, 3000, 3001]), 200), Duration::from_millis(20), |_, _| Outcome::Refused);
    let endpoints: BTreeSet<Endpoint> = asked.iter().map(|(_, q)| q.endpoint).collect();
    assert_eq!((endpoints.len(), asked.len()), (3066, 3066), "a sweep this large looks once");
    assert_eq!(sweep.progress().finished, 3066);
    for (i, (at, question)) in asked.iter().enumerate() {
        let second = || asked[i..].iter().take_while(|(t, _)| *t < *at + Duration::from_secs(1));
        assert!(second().count() <= 200);
        assert!(second().filter(|(_, q)| q.endpoint.address == question.endpoint.address).count() <= 10);
    }
}

#[test]
fn a_server_that_was_just_starting_is_found_by_the_second_look() {
    let (asked, sweep) = play(sweep(space("10.0.0.5", &[3000, 3001]), 200), Duration::from_millis(5), |question, count| {
        if question.endpoint.port == 3001 && count > 2 { not_found() } else { Outcome::Refused }
    });
    let to = |port| asked.iter().filter(|(_, q)| q.endpoint.port == port).count();
    assert_eq!(to(3000), 2);
    assert!(to(3001) > 2 && asked.iter().all(|(at, _)| *at < Duration::from_secs(10)));
    assert_eq!((sweep.progress().finished, sweep.progress().reached), (2, 1));
}

#[test]
fn a_server_that_ends_between_two_questions_is_waited_for_once() {
    let mut refused = false;
    let (asked, _) = play(sweep(space("10.0.0.5", &[3001]), 200), Duration::from_millis(5), |question, _| {
        if question.path == "/sse" && !std::mem::replace(&mut refused, true) { Outcome::Refused } else { not_found() }
    });
    let sse: Vec<_> = asked.iter().filter(|(_, q)| q.path == "/sse").map(|(at, _)| at.as_secs()).collect();
    assert_eq!(sse, [0, 3]);
    assert!(asked.len() > 10, "and the rest is asked");
}

#[test]
fn a_stop_asks_nothing_more_but_ends_sessions() {
    let mut sweep = sweep(space("10.0.0.0/24", &[3001]), 1000);
    let now = Instant::now();
    let asked: Vec<Question> = sweep
        .handle(Event::Tick, now, Timestamp::UNIX_EPOCH)
        .into_iter()
        .filter_map(|e| if let Effect::Ask(q) = e { Some(q) } else { None })
        .collect();
    assert!(!asked.is_empty());
    assert!(sweep.handle(Event::Stop, now, Timestamp::UNIX_EPOCH).is_empty());
    let head = Head { status: 400, headers: vec![("mcp-session-id".into(), "s".into())] };
    let minted = Outcome::Answer(Box::new(HttpAnswer { head, ..HttpAnswer::default() }));
    let later = now + Duration::from_secs(1);
    let mut ended = 0;
    for question in asked {
        for effect in sweep.handle(Event::Answered(Box::new((question, minted.clone()))), later, Timestamp::UNIX_EPOCH) {
            if let Effect::Ask(q) = effect {
                assert_eq!(q.method(), "DELETE");
                ended += 1;
                sweep.handle(Event::Answered(Box::new((q, not_found()))), later, Timestamp::UNIX_EPOCH);
            }
        }
    }
    assert!(ended >= 1 && sweep.is_done());
}

#[test]
fn what_a_stop_cut_short_is_asked_by_the_sweep_that_goes_on() {
    let now = Instant::now();
    let mut first = sweep(space("10.0.0.0/24", &[3001]), 1000);
    let mut asked = Vec::new();
    for step in 0..100 {
        let now = now + Duration::from_millis(step * 4);
        asked.extend(first.handle(Event::Tick, now, Timestamp::UNIX_EPOCH).into_iter().filter_map(|e| match e {
            Effect::Ask(question) => Some(question),
            _ => None,
        }));
    }
    assert_eq!(asked.len(), 16, "as many as may be under way");
    first.handle(Event::Answered(Box::new((asked.remove(0), Outcome::NotHttp(Vec::new())))), now, Timestamp::UNIX_EPOCH);
    first.handle(Event::Stop, now, Timestamp::UNIX_EPOCH);
    let mut second = sweep(space("10.0.0.0/24", &[3001]), 1000);
    second.resume(&first.position(now + Duration::from_secs(1)), now);
    let (again, _) = play(second, Duration::from_millis(20), |_, _| Outcome::Refused);
    let again: BTreeSet<Endpoint> = again.iter().map(|(_, q)| q.endpoint).collect();
    assert!(asked.iter().all(|q| again.contains(&q.endpoint)));
    assert!(again.len() >= 253, "{}", again.len());
}
