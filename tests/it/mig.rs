//! MIG instances on the way of a whole mill: the driver's own wrapper over a library that says what a scenario says, an agent
//! in a process of its own, a booking by name, and what its sandbox sees. And nodes that give no more time, as people hear it.
use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use crate::mill::{ADMIN, Mill, PASSWORD};
use crate::nvml::Stub;

/// A driver's files in a folder: a GPU, and the capabilities of its two instances.
fn driver(mill: &Mill) -> PathBuf {
    let root = mill.dir.join("driver");
    let put = |path: &str, text: &str| {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    for (path, number) in [("gi7", 66), ("gi7/ci0", 67), ("gi8", 75), ("gi8/ci0", 76)] {
        let said = format!("DeviceFileMinor: {number}\nDeviceFileMode: 292\nDeviceFileModify: 1\n");
        put(&format!("proc/driver/nvidia/capabilities/gpu0/mig/{path}/access"), &said);
        put(&format!("dev/nvidia-caps/nvidia-cap{number}"), "");
    }
    ["nvidia0", "nvidia1", "nvidiactl"].iter().for_each(|file| put(&format!("dev/{file}"), ""));
    root
}

/// A GPU that is cut in two.
fn cut() -> Stub {
    let mut stub = Stub::build(&[]);
    stub.gpu(0);
    stub.say("gpu0.mig 1\ngpu0.mig_places 7");
    for (place, uuid) in [(0, "MIG-a"), (1, "MIG-b")] {
        stub.say(&format!("gpu0.mig{place}.uuid {uuid}\ngpu0.mig{place}.name NVIDIA H200 MIG 1g.18gb"));
        stub.say(&format!("gpu0.mig{place}.gpu_instance {}\ngpu0.mig{place}.compute_instance 0", 7 + place));
        stub.say(&format!("gpu0.mig{place}.memory_total 17179869184\ngpu0.mig{place}.memory_used 0"));
    }
    stub
}

#[test]
fn an_instance_is_booked_by_its_name_and_its_sandbox_has_that_instance_alone() {
    let mut stub = cut();
    let mut mill = Mill::empty();
    mill.environment = vec![("GRISTMILL_NVML_LIBRARY", stub.library.clone()), ("GRISTMILL_DRIVER_ROOT", driver(&mill))];
    mill.set_up(&[]);
    mill.start();
    mill.login("admin", ADMIN, PASSWORD);
    mill.until("both instances are free", |mill| mill.json(&["status"])["gpus_free_now"] == 2);
    let listed = mill.run(&["gpus"]).ok();
    for part in ["GPU 0:7", "GPU 0:8", "H200 1g.18gb", "17 GB"] {
        assert!(listed.contains(part), "{part} is not in {listed}");
    }
    // Without a name nobody gets a slice; by it, whatever its spelling, at an eighth of the GPU's price.
    let refused = mill.run(&["--json", "quote", "--gpus", "1", "--for", "1h"]);
    let problem: Value = serde_json::from_str(&refused.err).unwrap();
    assert_eq!((problem["code"].as_str(), problem["field"].as_str()), (Some("only_instances"), Some("model")));
    let quote = mill.json(&["quote", "--gpus", "2", "--model", "h200 1G.18GB", "--for", "2h"]);
    assert_eq!((&quote["price"]["decimal"], &quote["model"]), (&"1.50".into(), &"H200 1g.18gb".into()), "{quote}");
    let look = "echo $CUDA_VISIBLE_DEVICES; ls /dev/nvidia-caps; ls -d /dev/nvidia[0-9]*";
    let words = ["run", "--gpus", "1", "--model", "H200 1g.18gb", "--for", "10m", "--", "sh", "-c", look];
    let done = mill.run(&words);
    assert_eq!((done.code, done.out.as_str()), (0, "MIG-a\nnvidia-cap66\nnvidia-cap67\n/dev/nvidia0\n"), "{done:?}");
    let booking = mill.json(&["bookings", "--all"])[0].clone();
    let lease = &booking["leases"][0];
    assert_eq!((&lease["gpu_names"][0], &booking["model"]), (&"GPU 0:7".into(), &"H200 1g.18gb".into()));
    // What its sandbox went without on this machine stands with it, and is what people read.
    let shown = mill.run(&["show", booking["id"].as_str().unwrap()]).ok();
    for lack in lease["lacking"].as_array().unwrap() {
        assert!(shown.contains(lack.as_str().unwrap()), "{lack} is not in {shown}");
    }
    let rates = mill.json(&["rate", "list"]);
    assert!(rates.as_array().unwrap().iter().any(|rate| rate["part"] == "1/8 of H200"), "{rates}");
    let own = mill.json(&["rate", "set", "--model", "H200 1g.18gb", "--per-gpu-hour", "0.5"]);
    assert_eq!(own["version"], 1, "{own}");
    let quote = mill.json(&["quote", "--gpus", "1", "--model", "H200 1g.18gb", "--for", "1h"]);
    assert_eq!(quote["price"]["decimal"], "0.50");
    // Cut anew a moment before the start: what is not there is not started, whether the mill has heard of it or not.
    stub.say("gpu0.mig0.uuid MIG-c\ngpu0.mig1.uuid MIG-d");
    let gone = mill.run(&words);
    let known = ["is not on this node any more", "takes no bookings at present"];
    assert!(gone.out.is_empty() && known.iter().any(|why| gone.err.contains(why)), "{gone:?}");
}

#[test]
fn a_node_that_is_needed_gives_no_more_time_and_says_so() {
    let mill = Mill::new();
    let id = mill.run(&["book", "--gpus", "1", "--for", "1h"]).ok();
    let id = id.trim();
    mill.until("it runs", |mill| mill.json(&["show", id])["state"] == "active");
    let node = mill.json(&["nodes"])[0]["name"].as_str().unwrap().to_owned();
    mill.run(&["node", "drain", &node, "--why", "new fans"]).ok();
    let refused = mill.run(&["--json", "extend", id, "--by", "1h"]);
    let problem: Value = serde_json::from_str(&refused.err).unwrap();
    assert_eq!((refused.code, problem["code"].as_str()), (1, Some("node_needed")), "{refused:?}");
    let said = mill.run(&["extend", id, "--by", "1h"]);
    assert!(said.err.contains("to run empty") && said.err.contains("new fans"), "{said:?}");
    assert!(said.err.contains("nothing equal is free elsewhere"), "{said:?}");
    mill.run(&["node", "open", &node]).ok();
    mill.run(&["extend", id, "--by", "1h"]).ok();
}
