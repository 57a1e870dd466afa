//! A certificate for trying things out, which nobody else trusts: made at the first start, kept for the next.

use std::error::Error;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// Makes both files, unless they are there.
pub(crate) fn certificate(cert: &str, key: &str) -> Result<(), Box<dyn Error + Send + Sync>> {
    if Path::new(cert).exists() {
        return Ok(());
    }
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()])?;
    if let Some(folder) = Path::new(cert).parent() {
        fs::create_dir_all(folder)?;
    }
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(key)?;
    file.write_all(made.signing_key.serialize_pem().as_bytes())?;
    Ok(fs::write(cert, made.cert.pem())?)
}
