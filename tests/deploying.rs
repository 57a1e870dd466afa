//! What the guide to deploying shows and nothing here can run, a pod and an image: a service starts with what
//! they set, and whoever would kill it waits for longer than it may take to stop.

mod support;

use nix::sys::signal::Signal;
use support::{Supervised, declarative, get, received, shown};

/// The variables of endless in a text, each once.
fn variables(text: &str, opening: &str, closing: &[char]) -> Vec<(String, String)> {
    let named = text.split("ENDLESS_").skip(1).map(|rest| {
        let (name, value) = rest.split_once(opening).expect("a name has a value");
        (format!("ENDLESS_{name}"), value.split(closing).next().unwrap_or_default().to_owned())
    });
    named.collect()
}

fn seconds(variables: &[(String, String)], name: &str) -> u64 {
    let (_, value) = variables.iter().find(|(it, _)| it == name).expect("it is set");
    value.strip_suffix('s').and_then(|number| number.parse().ok()).expect("seconds")
}

/// How long a stop may take.
fn stop_time(variables: &[(String, String)]) -> u64 {
    seconds(variables, "ENDLESS_LAME_DUCK") + seconds(variables, "ENDLESS_HAMMER_TIME")
}

/// Its variables count: it is ready where they say so, and then a lame duck.
async fn serves_with(variables: &[(String, String)]) {
    let mut command = declarative();
    command.envs(variables.iter().map(|(name, value)| (name, value)));
    command.env("ENDLESS_LISTEN", "127.0.0.1:0");
    let service = Supervised::start(command).await;
    let address = service.address().await;
    assert_eq!(get(address, "/ready").await.status, 200);
    let mark = service.mark();
    service.signal(service.pid(), Signal::SIGTERM);
    let lame = service.wait_for_message(mark, "lame duck").await;
    assert_eq!(lame.field("time"), Some(format!("{}s", seconds(variables, "ENDLESS_LAME_DUCK")).as_str()));
    assert_eq!((get(address, "/ready").await.status, get(address, "/hello").await.status), (503, 200));

    // Out of the lame duck's time.
    service.signal(service.pid(), Signal::SIGINT);
    received(&service, mark, Signal::SIGINT, service.serving_pid()).await;
    assert_eq!(service.over().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_has_the_time_to_stop_that_its_service_may_take() {
    let pod = shown("yaml", "kind: Deployment");
    let variables = variables(&pod, ", value: \"", &['"']);
    let (_, grace) = pod.split_once("terminationGracePeriodSeconds: ").expect("it is set");
    let grace: u64 = grace.lines().next().and_then(|number| number.parse().ok()).expect("a number");
    assert!(grace > stop_time(&variables));
    let (_, path) = variables.iter().find(|(name, _)| name == "ENDLESS_READINESS_PATH").expect("it is set");
    assert!(pod.contains(&format!("httpGet: {{ path: {path}, port: 4242 }}")));
    serves_with(&variables).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_stops_within_the_time_that_docker_is_told() {
    let image = shown("dockerfile", "ENTRYPOINT");
    let variables = variables(&image, "=", &[' ', '\n']);
    assert!(30 > stop_time(&variables), "the guide says `docker stop -t 30`");
    serves_with(&variables).await;
}
