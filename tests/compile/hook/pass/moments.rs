#[endless::hook(pre = "SIGHUP")]
fn pre() {}

#[endless::hook(post = "SIGHUP")]
fn post() {}

#[endless::hook(pre = "SIGHUP", post = "SIGHUP")]
fn both() {}

#[endless::hook(pre = ["SIGINT", "SIGTERM"], post = ["SIGUSR1"])]
fn lists() {}

#[endless::hook(before_begin)]
fn before_begin() {}

#[endless::hook(ready)]
fn ready() {}

#[endless::hook(drained)]
async fn drained() {}

#[endless::hook(hammered)]
fn hammered() {}

fn main() {}
