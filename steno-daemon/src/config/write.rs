//! A configuration as the text of a file.

use serde_json::{Map, Value, json};

use super::{Config, IndexFormat, ThreadConfig};

impl Config {
    /// The text of a file that is read as this configuration: 1.0.1's keys, and of Steno's own what is not their default.
    pub fn to_json(&self) -> String {
        let mut keys = Map::new();
        let mut put = |key: &str, value: Value| {
            let _ = keys.insert(key.to_owned(), value);
        };
        put("Threads", self.threads.iter().map(thread).collect());
        put("StenotypePath", json!(self.stenotype_path));
        // Of several, each thread names its own.
        if let [one] = self.interfaces().as_slice() {
            put("Interface", json!(one));
        }
        put("Flags", json!(self.flags));
        put("Host", json!(self.host));
        put("Port", json!(self.port));
        put("CertPath", json!(self.cert_path));
        if let Some(crl) = &self.crl {
            put("Crl", json!(crl));
        }
        if let Some(format) = self.index_format.map(IndexFormat::name) {
            put("IndexFormat", json!(format));
        }
        // Printing values that are no floats does not fail.
        serde_json::to_string_pretty(&keys).unwrap_or_default() + "\n"
    }
}

fn thread(thread: &ThreadConfig) -> Value {
    let mut keys = Map::new();
    let mut put = |key: &str, value: Value| {
        let _ = keys.insert(key.to_owned(), value);
    };
    put("PacketsDirectory", json!(thread.packets_directory));
    put("IndexDirectory", json!(thread.index_directory));
    put("DiskFreePercentage", json!(thread.disk_free_percentage));
    if let Some(most) = thread.max_directory_files {
        put("MaxDirectoryFiles", json!(most));
    }
    if let Some(age) = thread.max_age {
        put("MaxAge", json!(format!("{}s", age.as_secs())));
    }
    if let Some(most) = thread.max_bytes {
        put("MaxBytes", json!(most));
    }
    put("Interface", json!(thread.interface));
    Value::Object(keys)
}
