use super::*;
use crate::{dissect::mcp::World, flow::Peers, moment::Moment};
use hickory_proto::{
    op::{OpCode, Query},
    rr::{
        RecordType,
        rdata::{
            A, AAAA, CNAME, HTTPS, PTR, SRV,
            svcb::{IpHint, SvcParamKey},
        },
    },
};
use rules::endpoint::Endpoint;

fn name(text: &str) -> Name {
    Name::from_ascii(text).unwrap()
}

/// What a server answers, as bytes.
fn answer(asked: &str, records: &[(&str, RData)]) -> Vec<u8> {
    let mut message = Message::new(7, MessageType::Response, OpCode::Query);
    if !asked.is_empty() {
        message.add_query(Query::query(name(asked), RecordType::A));
    }
    message.answers = records.iter().map(|(own, data)| Record::from_rdata(name(own), 300, data.clone())).collect();
    message.to_vec().unwrap()
}

const ASKER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
const LINK: IpAddr = IpAddr::V4(Ipv4Addr::new(224, 0, 0, 251));
const BOX: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 9);

fn a() -> RData {
    RData::A(A(BOX))
}

fn told(world: &World) -> Vec<String> {
    world.names.asked(ASKER, BOX.into(), Moment::new(1, 0)).map(str::to_owned).collect()
}

fn hear(bytes: &[u8], port: u16, to: IpAddr, world: &mut World) -> Vec<String> {
    let peers = Peers::of_datagram(Endpoint::new(BOX.into(), port), Endpoint::new(to, 4000));
    message(bytes, port, to, &mut Context { now: Moment::new(1, 0), peers: &peers, world });
    world.told().map(|e| format!("{} {} {}", e.place, e.signature, e.detail)).collect()
}

#[test]
fn the_name_asked_for_is_first_and_the_alias_kept() {
    let mut world = World::default();
    let cname = RData::CNAME(CNAME(name("node7.corp.example.")));
    hear(&answer("Tools.Corp.Example.", &[("tools.corp.example.", cname), ("node7.corp.example.", a())]), DNS, ASKER, &mut world);
    assert_eq!(told(&world), ["tools.corp.example", "node7.corp.example"]);
}

#[test]
fn link_local_names_are_the_asker_s_and_announcements_everybody_s() {
    let mut world = World::default();
    hear(&answer("devbox.", &[("devbox.", a())]), LLMNR, ASKER, &mut world);
    hear(&answer("", &[("devbox.local.", a())]), MDNS, LINK, &mut world);
    assert_eq!(told(&world), ["devbox"]);
    assert_eq!(world.names.known(BOX.into(), Moment::new(1, 0)).collect::<Vec<_>>(), ["devbox.local", "devbox"]);
}

#[test]
fn reverse_lookups_name_addresses() {
    let mut world = World::default();
    for own in ["9.0.0.10.in-addr.arpa.", "8.b.d.0.1.0.0.2.ip6.arpa."] {
        hear(&answer(own, &[(own, RData::PTR(PTR(name("box.corp.example."))))]), DNS, ASKER, &mut world);
    }
    assert_eq!(world.names.known(BOX.into(), Moment::new(1, 0)).collect::<Vec<_>>(), ["box.corp.example"]);
    let long = "9.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa";
    assert_eq!(reverse(long), Some("2001:db8::9".parse().unwrap()));
}

#[test]
fn hints_of_https_records_are_addresses() {
    let mut world = World::default();
    let params =
        vec![(SvcParamKey::Port, SvcParamValue::Port(8443)), (SvcParamKey::Ipv4Hint, SvcParamValue::Ipv4Hint(IpHint(vec![A(BOX)])))];
    let https = |own: &str| answer(own, &[(own, RData::HTTPS(HTTPS(SVCB::new(1, Name::root(), params.clone()))))]);
    assert_eq!(hear(&https("wiki.corp.example."), DNS, ASKER, &mut world), [""; 0]);
    assert_eq!(told(&world), ["wiki.corp.example"]);
    assert_eq!(
        hear(&https("mcp.corp.example."), DNS, ASKER, &mut world),
        ["10.0.0.9:8443 wire.context.mdns-service mcp.corp.example announces an MCP service on port 8443"]
    );
}

/// Records of a service in every order: what is said in the end is the same.
#[test]
fn services_nominate_once_all_is_known() {
    let service = RData::SRV(SRV::new(0, 0, 8000, name("box.local.")));
    let path = |text: &str| RData::TXT(TXT::new(vec!["v=1".to_owned(), text.to_owned()]));
    let cases = [
        ("Warehouse-tools._mcp._tcp.local.", "x=y", Some("10.0.0.9:8000")),
        ("Warehouse-tools._http._tcp.local.", "path=/api/mcp", Some("10.0.0.9:8000/api/mcp")),
        ("Printer._http._tcp.local.", "path=/status", None),
    ];
    for (instance, text, place) in cases {
        for order in [[0, 1, 2], [2, 1, 0], [1, 0, 2], [1, 2, 0]] {
            let records = [(instance, service.clone()), (instance, path(text)), ("box.local.", RData::A(A(BOX)))];
            let mut world = World::default();
            let said: Vec<String> = order.iter().flat_map(|n| hear(&answer("", &records[*n..=*n]), MDNS, LINK, &mut world)).collect();
            let last = said.last().map(|s| s.split(' ').next().unwrap());
            assert_eq!(last, place, "{instance} {order:?} {said:?}");
        }
    }
}

#[test]
fn an_mcp_record_of_a_zone_points_at_its_url() {
    let mut world = World::default();
    let text = RData::TXT(TXT::new(vec!["url=https://Tools.corp.example:8443/mcp?key=secret".to_owned()]));
    hear(&answer("_mcp.corp.example.", &[("_mcp.corp.example.", text)]), DNS, ASKER, &mut world);
    let said = hear(&answer("tools.corp.example.", &[("tools.corp.example.", a())]), DNS, ASKER, &mut world);
    assert_eq!(said, ["10.0.0.9:8443/mcp wire.context.mdns-service tools.corp.example announces an MCP service on port 8443/mcp"]);
}

#[test]
fn questions_and_noise_say_nothing() {
    let mut world = World::default();
    let mut question = Message::new(7, MessageType::Query, OpCode::Query);
    question.answers = vec![Record::from_rdata(name("a.example."), 300, RData::AAAA(AAAA::new(1, 2, 3, 4, 5, 6, 7, 8)))];
    hear(&question.to_vec().unwrap(), DNS, ASKER, &mut world);
    hear(&[0xff; 40], DNS, ASKER, &mut world);
    assert_eq!((told(&world).len(), world.lost().get("undecodable-dns")), (0, Some(&1)));
}
