"""What scripts/gpu-check does; started by it."""
import argparse
import datetime
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

NO_GPU = 4
SUITES = ["boundary", "probe", "nightly", "enroll", "deep"]
# Figures of a run on a real card, with the target where it has one.
TARGETS = {
    "wipe and verify, share of the card's own copy": (0.90, "at least"),
    "wipe and verify of the whole memory, ms": (None, "about 70 on an H200"),
    "suite boundary, s": (5.0, "at most"),
    "suite probe, s": (2.0, "at most"),
    "stop of a check in the way, s": (2.0, "at most"),
}


class Session:
    def __init__(self, given):
        self.given = given
        self.lines, self.wrong, self.figures = [], [], {}
        self.raw = {}

    def say(self, line=""):
        print(line, flush=True)
        self.lines.append(line)

    def expect(self, what, seen, detail=""):
        self.say(f"{'ok   ' if seen else 'WRONG'}  {what}{': ' + detail if detail else ''}")
        if not seen:
            self.wrong.append(what)

    def program(self, words, **more):
        return subprocess.run([self.given.program, *words], capture_output=True, text=True, timeout=1800, **more)

    def selftest(self, suite):
        words = ["agent", "--selftest", "--suite", suite, "--json", "--gpu", str(self.given.gpu)]
        if self.given.simulated:
            words += ["--simulated-gpus", str(self.given.gpu + 1)]
        return self.program(words)

    def child(self, check, plant=None, measure=1, limit=60_000):
        """One check in its process, as the agent starts it: its report, or None, and how the process ended."""
        order = {"protocol": 1, "gpu": self.gpu, "plant": plant,
                 "order": {"check": check, "limit": limit, "measure": measure, "seed": 20261122, "challenge": None}}
        env = dict(os.environ, CUDA_CACHE_DISABLE="1", CUDA_DEVICE_ORDER="PCI_BUS_ID",
                   CUDA_VISIBLE_DEVICES=self.gpu.get("uuid", ""))
        done = self.program(["gpu-check"], input=json.dumps(order), env=env)
        said = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        reports = [line for line in said if line.get("say") == "report"]
        return (reports[-1] if reports else None), done


def main():
    words = argparse.ArgumentParser(prog="scripts/gpu-check")
    words.add_argument("--program", default=next((p for p in ("target/release/gristmill", "target/debug/gristmill")
                                                  if os.access(p, os.X_OK)), shutil.which("gristmill")))
    words.add_argument("--gpu", type=int, default=0)
    words.add_argument("--out")
    words.add_argument("--quick", action="store_true")
    words.add_argument("--simulated", action="store_true")
    session = Session(words.parse_args())
    if not session.given.program or not os.access(session.given.program, os.X_OK):
        sys.exit("There is no gristmill program to check with: build one (cargo build --release) or name it with --program.")
    first = session.selftest("probe")
    if first.returncode == NO_GPU:
        print("No GPU was checked, and nothing was written: " + first.stderr.strip().splitlines()[-1], file=sys.stderr)
        sys.exit(NO_GPU)
    tested = json.loads(first.stdout)["gpus"][0]
    if any("in use by" in check.get("why", "") for check in tested["checks"]):
        sys.exit(f"The GPU is {tested['checks'][0]['why']}; free it first.")
    if session.given.simulated:
        session.gpu = {"kind": "simulated", "uuid": tested["uuid"], "model": tested["model"], "processors": 8,
                       "memory_bytes": 65536}
    else:
        session.gpu = {"kind": "real", "uuid": tested["uuid"], "model": tested["model"], "others": []}
    about(session, tested)
    ptx(session)
    suites(session)
    plants(session)
    beside(session)
    summary(session)
    write(session)
    sys.exit(1 if session.wrong else 0)


def about(session, tested):
    now = datetime.datetime.now(datetime.timezone.utc)
    session.began = now
    session.say(f"GPU checks on {'a SIMULATED GPU, which proves nothing' if session.given.simulated else 'a real card'}")
    session.say(f"when: {now:%Y-%m-%d %H:%M} UTC")
    session.say(f"program: {session.program(['--version']).stdout.strip()}")
    session.say(f"GPU: {tested['model']}")
    smi = shutil.which("nvidia-smi")
    if smi and not session.given.simulated:
        asked = "driver_version,memory.total,compute_cap,ecc.mode.current,power.limit,pcie.link.gen.max"
        seen = subprocess.run([smi, f"--query-gpu={asked}", "--format=csv"], capture_output=True, text=True, timeout=60)
        session.say(seen.stdout.strip())
    session.say()


def ptx(session):
    session.say("== the PTX against its source")
    if session.given.simulated:
        session.say("not compared: nothing runs it here")
        session.say()
        return
    try:
        done = subprocess.run(["./scripts/ptx", "--check"], capture_output=True, text=True, timeout=900)
    except OSError as problem:
        session.say(f"not compared: {problem}")
        return
    if done.returncode == 3:
        session.say("not compared: the compiler cannot be fetched here")
    else:
        session.expect("the PTX is what its source compiles to", done.returncode == 0, done.stdout if done.returncode else "")
    session.say()


def suites(session):
    chosen = SUITES[:3] if session.given.quick else SUITES
    for suite in chosen:
        session.say(f"== suite {suite}")
        began = datetime.datetime.now()
        done = session.selftest(suite)
        took = (datetime.datetime.now() - began).total_seconds()
        try:
            result = json.loads(done.stdout)
        except ValueError:
            session.expect(f"suite {suite} answers", False, done.stderr.strip()[-500:])
            continue
        session.raw[suite] = result
        session.figures[f"suite {suite}, s"] = took
        for check in result["gpus"][0]["checks"]:
            figures = ", ".join(f"{f['name']} {f['value']:.6g} {f['unit']}" for f in check["figures"])
            said = check.get("said") or check.get("why") or ""
            session.say(f"  {check['check']}: {check['verdict']} in {check['took_ms']} ms. {said} {figures}")
            for note in check.get("notes", []):
                session.say(f"    {note}")
        session.expect(f"suite {suite} passes", done.returncode == 0, f"status {done.returncode}, {took:.2f} s")
        session.say()


def plants(session):
    session.say("== what is broken on purpose is found")
    address, bits = (1 << 33) + 4096 if not session.given.simulated else 4096, 0x8000000000000001
    report, _ = session.child("memory", {"plant": "memory", "address": address, "bits": bits})
    wrong = (report or {}).get("mismatches", {})
    first = (wrong.get("first") or [{}])[0]
    session.expect("a corrupted word of memory is found at its exact place",
                   report is not None and report.get("code") == "memory" and wrong.get("words") == 1
                   and first.get("address") == address and first["expected"] ^ first["got"] == bits, str(wrong))
    place = 37
    report, _ = session.child("compute", {"plant": "product", "processor": 1, "place": place, "bits": 1})
    wrong = (report or {}).get("mismatches", {})
    found = wrong.get("first") or []
    session.expect("a wrong value of a product is found at its exact place, on its processor",
                   report is not None and report.get("code") == "product" and bool(found)
                   and all(one["address"] == place and one["sm"] == 1 for one in found), str(wrong)[:300])
    report, done = session.child("context", {"plant": "stray"})
    session.expect("a bad pointer fails its process alone",
                   report is None and done.returncode != 0 or report is not None and report.get("verdict") == "failed",
                   (report or {}).get("said", f"status {done.returncode}"))
    report, _ = session.child("context")
    session.expect("the next process finds the GPU sound", report is not None and report["verdict"] == "passed")
    session.say()


PLAIN = r"""
#include <cstdio>
#include <cuda_runtime.h>
int main() {
    size_t bytes = (size_t)4 << 30;
    char *a, *b;
    if (cudaMalloc(&a, bytes) || cudaMalloc(&b, bytes)) return 1;
    cudaEvent_t from, to;
    cudaEventCreate(&from), cudaEventCreate(&to);
    cudaMemcpy(b, a, bytes, cudaMemcpyDeviceToDevice);
    cudaEventRecord(from);
    for (int i = 0; i < 16; i++) cudaMemcpyAsync(b, a, bytes, cudaMemcpyDeviceToDevice);
    cudaEventRecord(to), cudaEventSynchronize(to);
    float millis;
    cudaEventElapsedTime(&millis, from, to);
    printf("%.1f\n", 2.0 * 16 * bytes / millis / 1e6);
    return cudaGetLastError();
}
"""
VENDOR = r"""
#include <cstdio>
#include <cublas_v2.h>
#include <cuda_bf16.h>
__global__ void fill(__nv_bfloat16 *at, size_t count) {
    for (size_t i = blockIdx.x * (size_t)blockDim.x + threadIdx.x; i < count; i += (size_t)gridDim.x * blockDim.x) {
        unsigned x = (unsigned)i * 2654435761u;
        at[i] = __float2bfloat16(((x ^ x >> 15) & 0xffff) / 65536.0f - 0.5f);
    }
}
int main() {
    const int n = 8192;
    __nv_bfloat16 *a, *b, *c;
    size_t count = (size_t)n * n;
    if (cudaMalloc(&a, count * 2) || cudaMalloc(&b, count * 2) || cudaMalloc(&c, count * 2)) return 1;
    fill<<<1024, 256>>>(a, count), fill<<<1024, 256>>>(b, count);
    cublasHandle_t blas;
    if (cublasCreate(&blas)) return 1;
    float one = 1, zero = 0, millis;
    cudaEvent_t from, to;
    cudaEventCreate(&from), cudaEventCreate(&to);
    for (int i = 0; i < 60; i++) {
        if (i == 10) cudaEventRecord(from);
        if (cublasGemmEx(blas, CUBLAS_OP_T, CUBLAS_OP_N, n, n, n, &one, a, CUDA_R_16BF, n, b, CUDA_R_16BF, n, &zero, c,
                         CUDA_R_16BF, n, CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT)) return 1;
    }
    cudaEventRecord(to), cudaEventSynchronize(to);
    cudaEventElapsedTime(&millis, from, to);
    printf("%.1f\n", 50 * 2.0 * n * n * n / millis / 1e9);
    return cudaGetLastError();
}
"""


def beside(session):
    """The plain copy and the vendor's product, where there is a compiler for them."""
    session.say("== beside what the vendor's own programs reach")
    nvcc = shutil.which("nvcc") or shutil.which("nvcc", path="/usr/local/cuda/bin")
    if not nvcc or session.given.simulated:
        session.say("not measured: there is no nvcc here")
        session.say()
        return
    env = dict(os.environ, CUDA_VISIBLE_DEVICES=session.gpu["uuid"])
    with tempfile.TemporaryDirectory() as folder:
        for name, source, links in (("plain copy, GB/s", PLAIN, []), ("vendor's bf16 product, TFLOP/s", VENDOR, ["-lcublas"])):
            path = os.path.join(folder, "beside.cu")
            with open(path, "w") as file:
                file.write(source)
            built = subprocess.run([nvcc, "-O3", "-o", f"{folder}/beside", path, *links], capture_output=True, text=True,
                                   timeout=300)
            if built.returncode:
                session.say(f"{name}: not measured: {built.stderr.strip()[-200:]}")
                continue
            done = subprocess.run([f"{folder}/beside"], capture_output=True, text=True, timeout=120, env=env)
            if done.returncode == 0 and re.fullmatch(r"[0-9.]+\s*", done.stdout):
                session.figures[name] = float(done.stdout)
                session.say(f"{name}: {done.stdout.strip()}")
            else:
                session.say(f"{name}: not measured: status {done.returncode} {done.stderr.strip()[-200:]}")
    session.say()


def figure(session, suite, check, name):
    for one in session.raw.get(suite, {}).get("gpus", [{}])[0].get("checks", []):
        if one["check"] == check:
            for figure in one["figures"]:
                if figure["name"] == name:
                    return figure["value"]
    return None


def summary(session):
    session.say("== figures beside their targets")
    copy = session.figures.get("plain copy, GB/s") or figure(session, "nightly", "bandwidth", "device_to_device_by_driver")
    wiped = figure(session, "boundary", "wipe", "wiped_and_verified")
    if copy and wiped:
        session.figures["wipe and verify, share of the card's own copy"] = wiped / copy
    wipe = figure(session, "boundary", "wipe", "wipe_and_verify")
    if wipe is not None:
        session.figures["wipe and verify of the whole memory, ms"] = wipe
    for name, value in session.figures.items():
        target, word = TARGETS.get(name, (None, ""))
        verdict = ""
        if target is not None:
            good = value >= target if word == "at least" else value <= target
            verdict = f"  target {word} {target}: {'met' if good else 'MISSED'}"
        elif word:
            verdict = f"  target {word}"
        session.say(f"{name}: {value:.4g}{verdict}")
    session.say(f"wrong: {len(session.wrong)}")


def write(session):
    model = re.sub(r"[^A-Za-z0-9]+", "-", session.gpu["model"]).strip("-")
    name = f"{session.began:%Y-%m-%d}-{model}.txt"
    path = session.given.out or os.path.join("tests/gpu", ("simulated-" if session.given.simulated else "") + name)
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    with open(path, "w") as file:
        file.write("\n".join(session.lines) + "\n")
        if session.raw:
            # Identities of a card are nobody else's business.
            text = json.dumps(session.raw)
            text = re.sub(r"(GPU|MIG)-[0-9a-f-]{36}", r"\1-…", text)
            file.write("\nraw: " + re.sub(r'"answer": \[[^]]*\]', '"answer": "…"', text) + "\n")
    print(f"written: {path}")


main()
