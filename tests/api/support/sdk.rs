//! The providers' own libraries, which the scripts of `tests/sdk` drive, and what was recorded of that.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

/// The interpreter with the packages of `tests/sdk/requirements.txt`.
const PYTHON: &str = "PLANGATE_SDK_PYTHON";
/// Set, it has the golden files written anew.
const WRITE_GOLDEN: &str = "PLANGATE_SDK_WRITE_GOLDEN";

/// Runs a script of `tests/sdk` to its end. What it asks to happen meanwhile, as `[name, argument…]`, `perform` does and answers.
pub(crate) fn drive(script: &str, arguments: &[&str], perform: impl Fn(&[Value]) -> Value) {
    let python = std::env::var_os(PYTHON).filter(|name| !name.is_empty());
    let python = python.unwrap_or_else(|| {
        panic!(
            "{PYTHON} must name a Python that has tests/sdk/requirements.txt: python3 -m venv /tmp/sdk && \
             /tmp/sdk/bin/pip install -r tests/sdk/requirements.txt && export {PYTHON}=/tmp/sdk/bin/python"
        )
    });
    let mut script = Command::new(python)
        // No bytecode is left beside the script, and nothing of the user's own changes what it does.
        .args(["-B", "-E", "-s", "-X", "utf8"])
        .arg(directory().join(script))
        .args(arguments)
        .arg(directory().join("golden"))
        .args(std::env::var_os(WRITE_GOLDEN).map(|_| "--write-golden"))
        .env("no_proxy", "127.0.0.1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the interpreter starts");
    let mut answers = script.stdin.take().expect("it is piped");
    for act in BufReader::new(script.stdout.take().expect("it is piped")).lines() {
        let act: Vec<Value> = serde_json::from_str(&act.unwrap()).expect("acts are JSON arrays");
        let answer = perform(&act);
        // If the script is gone its status tells more than the broken pipe.
        if writeln!(answers, "{answer}").is_err() {
            break;
        }
    }
    drop(answers);
    let status = script.wait().expect("the script ends");
    assert!(
        status.success(),
        "{status}; what the library missed is on stderr"
    );
}

/// What was recorded when a script ran last.
pub(crate) fn golden(name: &str) -> String {
    let path = directory().join("golden").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sdk")
}
