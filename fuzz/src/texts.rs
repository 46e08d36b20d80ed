//! Starting inputs that are text.

/// As `docs/format/ledger.md` has them.
pub(crate) fn ledgers() -> Vec<Vec<u8>> {
    let head = "steno-ledger 1\nboot 6a3f0c52-7b1d-4f0e-9a43-0d8f5d0c7b11\nnamespace 4026531840\ninterface 7\n";
    let bodies = [
        "beyond -12\nowed 3\nthread 1795395475661823 40\nthread 1795395475661824 0\n",
        "beyond 9223372036854775807\nowed 18446744073709551615\n",
    ];
    let signed = |body: &str| {
        let text = format!("{head}{body}");
        format!("{text}crc32c {:08x}\n", crc32c::crc32c(text.as_bytes())).into_bytes()
    };
    bodies.map(signed).to_vec()
}

/// Words, programs in digits, and the bytes of programs.
pub(crate) fn filters() -> Vec<Vec<u8>> {
    let words = [
        "tcp and port 80",
        "not (udp or icmp6) and host 10.0.0.1 or 2001:db8::1",
        "src net 10.0.0.0/8 and dst portrange 8000-8100",
        "net 10.1.0.0 mask 255.255.0.0 || ip6 proto 17 && less 100",
        "sctp src port 7 or arp host 10.0.0.1 or greater 1000 or ip proto \\tcp",
    ];
    let programs = [
        // `ip`, as compile_bpf.sh of 1.0.1 prints it.
        "002800000000000c00150001000008000006000000040000".to_owned() + "0006000000000000",
        // A byte behind the header of IPv4, by X, and through memory.
        "00b100000000000e004800000000001000020000000000030060000000000003".to_owned() + "0006000000040000",
        // The type of a packet, as the kernel keeps it; a jump over it all.
        "0028000000fff004".to_owned() + "00050000000000000016000000000000",
    ];
    let bytes = programs.iter().map(|digits| {
        let pairs = digits.as_bytes().chunks(2).filter_map(|pair| str::from_utf8(pair).ok());
        pairs.filter_map(|pair| u8::from_str_radix(pair, 16).ok()).collect()
    });
    let texts = words.map(str::to_owned).into_iter().chain(programs.clone()).map(String::into_bytes);
    texts.chain(bytes).collect()
}

/// As `docs/format/control.md` has them, a line each.
pub(crate) fn control_messages() -> Vec<Vec<u8>> {
    let all = "starting\nready 1\nlog 0 1795395475661823 1048576\ncounters 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14\n\
               clock 1700000000000000000 1700000001000000000\nsealed 0 1795395475661823\nstopping\n";
    let largest = "ready 1\ncounters 0 18446744073709551615 0 18446744073709551615 0 0 0 18446744073709551615\n\n\
                   starting\ncounters 0 1 1 1 1 1 1 1\ncounters 1 1 1 1 1 1 1 1\nweather fine";
    [all, largest].map(|text| text.as_bytes().to_vec()).to_vec()
}

/// Of either stenotype; behind a byte that says in which pieces it comes.
pub(crate) fn outputs() -> Vec<Vec<u8>> {
    let own = "\x062026-11-23T01:58:17.506748Z warning packet0: v1 is down: wait\n\
               2026-11-23T01:58:17.506748Z info main: capturing from v1 into /d\nstenotype: there is no interface \"x\"\n\
               <3>thread 12: write failed\nerror: no such device\n\x1b[31mred\x07\tx\rjoe";
    let theirs = "\x102026-11-23T01:38:13.618079Z T:000ec6 [stenotype.cc:466] Thread 0 starting to process packets\n\
                  2026-11-23T01:38:13.618079Z T:000ec6 [stenotype.cc:466] Thread 0 stats: MB=3 secs=3.98 MBps=0.75 \
                  packets=10 blocks=3 polls=5 drops=0 drop%=0\n\
                  2026-11-23T01:37:49.285048Z T:ed4693 [stenotype.cc:575] CHECK(flag_aiops <= flag_blocks) \n\
                  ABORTABORTABORT\nstenotype(+0x6f3e) [0x55af75979f3e]\n";
    [own, theirs].map(|text| text.as_bytes().to_vec()).to_vec()
}

/// 1.0.1's, and one with every key.
pub(crate) fn configurations() -> Vec<Vec<u8>> {
    let theirs = r#"{
  "Threads": [{ "PacketsDirectory": "/p", "IndexDirectory": "/i", "DiskFreePercentage": 10, "MaxDirectoryFiles": 30000 }],
  "StenotypePath": "/usr/sbin/stenotype", "Interface": "eth0", "Port": 1234, "Host": "127.0.0.1",
  "Flags": ["-v", "--filter=tcp"], "CertPath": "/c", "MaxOpenFiles": 100,
  "Rpc": { "CaCert": "/a", "ServerKey": "/k", "ServerCert": "/s", "ServerPort": 8443, "ServerPcapPath": "/tmp",
    "ServerPcapMaxSize": 1000, "ClientPcapChunkSize": 1000, "ClientPcapMaxSize": 5000 } }"#;
    let ours = r#"{ "threads": [
  { "PacketsDirectory": "/p", "IndexDirectory": "/i", "Interface": "eth1", "MaxAge": "7d", "MaxBytes": "1TiB" },
  { "PacketsDirectory": "/q", "IndexDirectory": "/j" }, { "PacketsDirectory": "/r", "IndexDirectory": "/k" }],
  "Interfaces": ["eth0", "lo"], "IndexFormat": "leveldb", "Audit": "/audit", "Crl": "/crl", "Host": "::",
  "Limits": { "MaxConcurrentQueries": 8, "MaxQueryBytes": "10GB", "QueryDeadline": "1h30m", "MaxMemory": "64MiB" },
  "Scrub": { "BytesPerSecond": "10MB", "Every": "30d" }, "Unknown": [null, true, 1.5e3] } more"#;
    [theirs, ours].map(|text| text.as_bytes().to_vec()).to_vec()
}

/// A head with lines of its own, an empty line, a body.
pub(crate) fn http_requests() -> Vec<Vec<u8>> {
    [
        "POST /query HTTP/1.1\nHost: sensor\nTE: trailers\nContent-Length: 26\n\nhost 10.0.0.1 and port 80\n",
        "POST /query HTTP/2\nSteno-Limit-Bytes: 0x100\nSteno-Limit-Packets: 2\n\nip or ip6 or arp",
        "POST /query HTTP/1.1\nSteno-Limit-Packets: 010\nsteno-limit-bytes: +17\n\nlast 1m or before 2023-11-14T22:13:22Z",
        "POST /query HTTP/1.0\n\nudp",
        "GET /query HTTP/1.1\nContent-Length: 99999999\n\n",
        "GET /debug/stats HTTP/1.1\n\n",
        "GET /metrics HTTP/2\n\n",
        "PUT /nothing HTTP/1.1\nContent-Type: application/grpc\n\nx",
        "POST /query HTTP/2\n\nvlan and prot 53 or (",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}
