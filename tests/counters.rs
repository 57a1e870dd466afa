//! What `status()` counts: requests, and responses by status, to the last one and through a restart.

mod support;

use std::process::Command;

use serde_json::{Value, json};
use support::{App, Client, H2Load, Kind, Load, Mark, declarative, status_when};

/// `/status` is being answered while it looks: it is a request, and no response yet.
fn counted(status: &Value) -> (u64, u64) {
    let server = &status["servers"][0];
    let responses = server["responses"].as_object().expect("a table").values();
    (server["requests"].as_u64().expect("a number"), responses.filter_map(Value::as_u64).sum())
}

async fn serve(mut command: Command) -> App {
    command.env("ENDLESS_READINESS_PATH", "/ready");
    let app = App::start(command);
    app.wait_for_message(Mark::START, "serving").await;
    app
}

#[tokio::test(flavor = "multi_thread")]
async fn responses_are_counted_by_status_whoever_makes_them() {
    let app = serve(declarative()).await;
    let address = app.address().await;
    let mut client = Client::connect(address).await;
    for (path, status) in [
        ("/hello", 200),
        ("/hello", 200),
        ("/nowhere", 404),
        ("/error", 500),
        ("/empty?status=204", 204),
        ("/empty?status=301", 301),
        ("/empty?status=404", 404),
        ("/ready", 200),
    ] {
        assert_eq!(client.get(path).await.status, status);
    }
    let all = json!({"200": 3, "204": 1, "301": 1, "404": 2, "500": 1});
    let told: Value = serde_json::from_slice(&client.get("/status").await.body).expect("JSON");
    assert_eq!(told["servers"][0]["responses"], all);
    assert_eq!(counted(&told), (9, 8));

    // What a connection was answered stays when it is gone, and hers are added to his.
    client.send("GET /hello HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n").await;
    assert_eq!(client.answer().await.status, 400);
    client.closed().await;
    let all = json!({"200": 4, "204": 1, "301": 1, "400": 1, "404": 2, "500": 1});
    let told = status_when(address, |status| status["servers"][0]["connections"] == 1).await;
    assert_eq!(told["servers"][0]["responses"]["400"], all["400"]);
    let (requests, responses) = counted(&told);
    assert_eq!(requests, responses + 1, "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_response_of_many_connections_is_lost() {
    let app = serve(declarative()).await;
    let address = app.address().await;
    let loads = [
        Load::new(address, Kind::Fresh).connections(4).start(),
        Load::new(address, Kind::KeepAlive { think: Default::default()..=Default::default() })
            .connections(4)
            .start(),
    ];
    let streams = H2Load::new(address).connections(2).streams(8).start();
    let mut answered = 0;
    for load in loads.into_iter().chain([streams]) {
        load.until_answered(200).await;
        let report = load.stop().await;
        report.assert_clean();
        answered += report.answered;
    }
    let told = status_when(address, |status| status["servers"][0]["connections"] == 1).await;
    // Those that asked for it before were answered by 200 too.
    let (requests, responses) = counted(&told);
    assert_eq!(requests, responses + 1, "{told}");
    assert!(told["servers"][0]["responses"]["200"].as_u64() >= Some(answered), "{told}");
}
