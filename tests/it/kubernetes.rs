//! The commands of docs/operating.md that wait for the migration job.

use std::process::Command;

use crate::support::finished;

/// Replaces kubectl: each `get job` prints the next line of the file `conditions`. The lines of the tests are the
/// conditions that an API server (1.36) sets one after the other.
const KUBECTL: &str = r#"
kubectl() {
    echo "$*" >>calls
    case $* in
        "get job "*)
            head -n 1 conditions
            tail -n +2 conditions >remaining
            mv remaining conditions
            ;;
    esac
}
sleep() { :; }
"#;

/// Returns the commands from the wait to the end of the block.
fn wait_commands() -> &'static str {
    let guide = include_str!("../../docs/operating.md");
    let start = guide.find("until conditions=").unwrap();
    let length = guide[start..].find("```").unwrap();
    &guide[start..start + length]
}

/// Runs the commands while the job goes through the conditions. Returns the exit status and the calls of kubectl.
fn wait_for_job(conditions: &str) -> (Option<i32>, String) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("conditions"), conditions).unwrap();
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("{KUBECTL}{}", wait_commands())]);
    let (status, _, errors) = finished(shell.current_dir(folder.path()));
    assert_eq!(errors, "");
    let calls = std::fs::read_to_string(folder.path().join("calls")).unwrap();
    (status, calls)
}

#[test]
fn documented_wait_deploys_after_the_job_is_complete() {
    let (status, calls) = wait_for_job("\n\nSuccessCriteriaMet\nSuccessCriteriaMet Complete\n");
    assert_eq!(status, Some(0));
    assert!(calls.ends_with("apply -k deploy/kubernetes/service\n"), "{calls}");
    assert_eq!(calls.matches("get job").count(), 4);
}

#[test]
fn documented_wait_fails_with_the_job() {
    let (status, calls) = wait_for_job("\nFailureTarget\nFailureTarget Failed\n");
    assert_eq!(status, Some(1));
    assert!(calls.contains("\nlogs "), "{calls}");
    assert!(!calls.contains("apply"), "{calls}");
}
