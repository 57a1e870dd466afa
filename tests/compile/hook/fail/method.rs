struct App;

impl App {
    #[endless::hook(ready)]
    fn hook(&self) {}
}

fn main() {}
