//! What a configuration means for capture and retention.

use crate::{
    capture::{CaptureSettings, Source, ThreadDirectories},
    config::{Config, IndexFormat, ThreadConfig},
    retention::{Bounds, ThreadRetention},
    sensor::SensorSettings,
};

/// One capture process for each interface, with the threads that name it; the bounds of each thread.
pub fn sensor_settings(config: &Config) -> SensorSettings {
    let threads: Vec<ThreadRetention> = (0..).zip(&config.threads).map(|(n, thread)| retention(n, thread)).collect();
    let capture = |interface: &str| {
        let served = threads.iter().zip(&config.threads).filter(|(_, thread)| thread.interface == interface);
        let directories = served.map(|(kept, _)| kept.directories.clone()).collect();
        let mut capture =
            CaptureSettings::new(config.stenotype_path.clone(), Source::Interface(interface.to_owned()), directories);
        capture.flags.clone_from(&config.flags);
        capture.index_format = config.index_format.map(|format: IndexFormat| format.name().to_owned());
        capture
    };
    SensorSettings { captures: config.interfaces().into_iter().map(capture).collect(), threads, scrub: config.scrub }
}

fn retention(number: u32, thread: &ThreadConfig) -> ThreadRetention {
    ThreadRetention {
        directories: ThreadDirectories {
            thread: number,
            packets: thread.packets_directory.clone(),
            index: thread.index_directory.clone(),
        },
        bounds: Bounds {
            disk_free_percent: Some(thread.disk_free_percentage.into()),
            max_files: thread.max_directory_files,
            max_bytes: thread.max_bytes,
            max_age: thread.max_age,
        },
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::parse;

    #[test]
    fn threads_go_to_the_process_of_their_interface_and_keep_their_numbers() {
        let text = r#"{
            "Threads": [
                {"PacketsDirectory": "/p0", "IndexDirectory": "/i0"},
                {"PacketsDirectory": "/p1", "IndexDirectory": "/i1", "Interface": "b", "MaxDirectoryFiles": 7},
                {"PacketsDirectory": "/p2", "IndexDirectory": "/i2", "DiskFreePercentage": 3, "MaxAge": "2h"}
            ],
            "StenotypePath": "/x/stenotype", "Interface": "a", "Flags": ["-v"], "IndexFormat": "leveldb",
            "Port": 1234, "Host": "127.0.0.1", "CertPath": "/c"
        }"#;
        let settings = sensor_settings(&parse(text).unwrap().config);
        let threads = |i: usize| settings.captures[i].threads.iter().map(|t| t.thread).collect::<Vec<_>>();
        assert_eq!((threads(0), threads(1)), (vec![0, 2], vec![1]));
        assert_eq!(settings.captures[1].source, Source::Interface("b".into()));
        assert_eq!(settings.captures[0].flags, ["-v"]);
        assert_eq!(settings.captures[0].index_format.as_deref(), Some("leveldb"));
        let bounds: Vec<Bounds> = settings.threads.iter().map(|t| t.bounds).collect();
        let of = |percent, files, age| Bounds {
            disk_free_percent: Some(percent),
            max_files: files,
            max_bytes: None,
            max_age: age,
        };
        assert_eq!(bounds, [of(10, None, None), of(10, Some(7), None), of(3, None, Some(Duration::from_secs(7200)))]);
    }
}
