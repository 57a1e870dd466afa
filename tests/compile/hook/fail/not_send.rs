#[endless::hook(ready)]
async fn hook() {
    let shared = std::rc::Rc::new(());
    std::future::ready(()).await;
    drop(shared);
}

fn main() {}
