//! `Access`, from the configuration file on: who asks gets what is in reach, or nothing.

use std::process::Command;

use rcgen::{DnType, SanType};
use rustls::ClientConfig;
use serde_json::json;
use steno_proto::{
    certs::client_tls,
    v1::{FlowsRequest, flows_response, sensor_client::SensorClient},
};
use tonic::Code;

use super::{
    certificates::{Pair, issuer},
    daemon::{Daemon, Plan},
    store,
    wire::{Taken, channel, request, within},
};

async fn taken(daemon: &Daemon, client: ClientConfig, query: &str) -> Taken {
    let mut sensor = SensorClient::new(within("connecting", channel(daemon.address, client)).await.unwrap());
    let mut taken = Taken::default();
    match within("an answer", sensor.query(request(query))).await {
        Ok(stream) => {
            let mut stream = stream.into_inner();
            while taken.next(&mut stream).await {}
        }
        Err(status) => taken.status = Some(status),
    }
    taken
}

#[tokio::test(flavor = "multi_thread")]
async fn each_certificate_gets_what_the_configuration_puts_in_its_reach() {
    let mut plan = Plan::new();
    plan.config["Access"] = json!({"Rules": [
        {"Name": "one host", "Principals": ["CN=alice"], "Nets": ["10.0.0.7"], "Methods": ["Query", "Flows"]},
        {"Name": "security", "Principals": ["OU=SOC*", "URI=spiffe://example/soc"]},
        {"Name": "lately", "Principals": ["CN=carol"], "Depth": "1h"},
    ]});
    store::fill(plan.root.path(), 1);
    let daemon = plan.start();
    let named = |name: &str| client_tls(&daemon.certs.issue_client(name).unwrap()).unwrap().config;
    let signs = issuer(&daemon.certs.ca_cert(), &daemon.certs.ca_key());
    let unit = Pair::signed(&signs, |p| p.distinguished_name.push(DnType::OrganizationalUnitName, "SOC Berlin"));
    let uri =
        Pair::signed(&signs, |p| p.subject_alt_names.push(SanType::URI("spiffe://example/soc".try_into().unwrap())));
    let all = 6_000;
    for (who, client, packets) in [
        ("alice", named("alice"), Some(all / 200)),
        ("a unit", unit.client(&daemon.certs), Some(all)),
        ("a URI", uri.client(&daemon.certs), Some(all)),
        ("carol", named("carol"), Some(0)),
        ("eve", named("eve"), None),
        ("the client that every directory has", daemon.client(), None),
    ] {
        for query in ["ip or not ip", "not host 10.0.0.8 or host 10.0.0.8"] {
            let taken = taken(&daemon, client.clone(), query).await;
            let Some(packets) = packets else {
                assert_eq!(taken.status.unwrap().code(), Code::PermissionDenied, "{who}");
                continue;
            };
            let receipt = taken.receipt.unwrap();
            assert!(receipt.complete && taken.status.is_none(), "{who}: {receipt:?}");
            assert_eq!(receipt.packets, packets, "{who}");
            assert_eq!(receipt.scope.is_some(), packets < all, "{who}");
        }
    }
    // Conversations of the host in reach alone, and with them no other.
    let mut alice = SensorClient::new(within("connecting", channel(daemon.address, named("alice2"))).await.unwrap());
    let denied = within("flows", alice.flows(FlowsRequest { query: "ip".into(), ..Default::default() })).await;
    assert_eq!(denied.unwrap_err().message(), "no rule of this sensor is for CN=alice2,O=Stenographer");
    let again = client_tls(&daemon.certs.client_dir("alice")).unwrap().config;
    let mut alice = SensorClient::new(within("connecting", channel(daemon.address, again)).await.unwrap());
    let flows = within("flows", alice.flows(FlowsRequest { query: "ip".into(), ..Default::default() })).await;
    let (mut flows, mut ends) = (flows.unwrap().into_inner(), 0);
    while let Some(message) = within("a message", flows.message()).await.unwrap() {
        if let flows_response::Part::Flows(batch) = message.part.unwrap() {
            assert!(batch.flows.iter().all(|flow| flow.a_address == "10.0.0.7"), "{batch:?}");
            ends += batch.flows.len();
        }
    }
    assert!(ends > 0);
    let said = daemon.log();
    assert!(said.contains("principal=CN=alice,O=Stenographer peer=127.0.0.1:"), "{said}");
    assert!(said.contains("rule=\"one host\""), "{said}");
}

#[test]
fn a_section_that_does_not_hold_keeps_the_daemon_from_starting() {
    let mut plan = Plan::new();
    plan.config["Access"] = json!({"Rules": [{"Name": "x", "Principals": ["alice"], "Net": ["10.0.0.0/8"]}]});
    let config = plan.path("config");
    std::fs::write(&config, plan.config.to_string()).unwrap();
    let output =
        Command::new(env!("CARGO_BIN_EXE_stenographer")).arg("-config").arg(config).arg("-check").output().unwrap();
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(!output.status.success(), "{said}");
    assert!(said.contains("unknown key; did you mean \"Access.Rules[0].Nets\"?"), "{said}");
    assert!(said.contains("\"alice\" will not do; it takes CN=, OU="), "{said}");
}
