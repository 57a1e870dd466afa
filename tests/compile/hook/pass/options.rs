#[endless::hook(ready, order = 10)]
fn order() {}

#[endless::hook(ready, order = -10)]
fn negative_order() {}

#[endless::hook(ready, timeout = "500ms")]
async fn timeout() {}

#[endless::hook(ready, timeout = "10s")]
fn sync_timeout() {}

#[endless::hook(ready, crate = "::endless")]
fn crate_string() {}

#[endless::hook(ready, crate = ::endless)]
fn crate_path() {}

fn main() {}
