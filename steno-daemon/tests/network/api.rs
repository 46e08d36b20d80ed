//! `docs/API.md`: its Python example runs as it stands there.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use steno_core::testkit::need;

use super::support::{PACKETS, Wanted, start, within};

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The one block of `language` in the document.
fn block(text: &str, language: &str) -> String {
    let fence = format!("```{language}\n");
    let mut blocks = text.split(&fence).skip(1).map(|rest| rest.split("```").next().unwrap_or_default());
    let block = blocks.next().unwrap();
    assert_eq!(blocks.next(), None, "which one?");
    block.to_owned()
}

async fn python(directory: &Path, arguments: &[&str]) -> (bool, String) {
    let mut command = Command::new("python3");
    let _set = command.args(arguments).current_dir(directory).env("PYTHONDONTWRITEBYTECODE", "1");
    let output = tokio::task::spawn_blocking(move || command.output());
    let output = within("python", output).await.unwrap().unwrap();
    (output.status.success(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_in_python_runs() {
    let there = Command::new("python3").args(["-c", "import grpc, grpc_tools"]).output();
    if !need(there.is_ok_and(|output| output.status.success()), "python3 with grpcio and grpcio-tools") {
        return;
    }
    let running = start(Wanted { packets: true, ..Wanted::default() }).await;
    let directory = tempfile::tempdir().unwrap();
    let proto = repository().join("proto").display().to_string();
    let file = format!("{proto}/steno/v1/steno.proto");
    let made = ["-m", "grpc_tools.protoc", "-I", &proto, "--python_out=.", "--grpc_python_out=.", &file];
    let (good, said) = python(directory.path(), &made).await;
    assert!(good, "{said}");
    let text = fs::read_to_string(repository().join("docs/API.md")).unwrap();
    fs::write(directory.path().join("query.py"), block(&text, "python")).unwrap();

    let (address, certs) = (running.address.to_string(), running.certs.path().display().to_string());
    let query = async |query: &str| python(directory.path(), &["query.py", &address, &certs, query, "out.pcap"]).await;
    let (good, said) = query("port 53").await;
    assert!(good, "{said}");
    let bytes = fs::read(directory.path().join("out.pcap")).unwrap();
    let expected = format!("{PACKETS} packets, {} bytes, BLAKE3 {}\n", bytes.len(), blake3::hash(&bytes).to_hex());
    assert_eq!(said, expected);
    assert_eq!(bytes[..4], [0x4d, 0x3c, 0xb2, 0xa1], "nanosecond pcap");

    let (good, said) = query("prt 53").await;
    assert!(!good && said.starts_with("INVALID_ARGUMENT: error: unknown primitive `prt`"), "{said}");
    assert!(said.ends_with("no answer, or a part of one\n"), "{said}");

    // A packet file that is gone from under its index: an answer that is not whole is not taken for one.
    fs::remove_file(running.packet_file()).unwrap();
    let (good, said) = query("port 53").await;
    assert!(!good && said.contains("DATA_LOSS: ") && said.contains("not all of it: "), "{said}");
    let _took = running.stop().await;
}
