"""Compiles the GPU checks' CUDA C to the PTX that lies beside it, with NVIDIA's runtime compiler, which needs no GPU.

    ptx.py NVIDIA_FOLDER OUT     NVIDIA_FOLDER holds cuda_nvrtc, cuda_nvcc, cuda_runtime as their pip packages lay them down

Started by scripts/ptx, which installs the compiler.
"""
import ctypes
import glob
import os
import sys

# bf16 through the tensor cores begins with this architecture; newer ones run its PTX.
TARGET = "compute_80"


def main(nvidia, out):
    nvrtc = ctypes.CDLL(glob.glob(f"{nvidia}/cuda_nvrtc/lib/libnvrtc.so.*")[0])
    options = [f"--gpu-architecture={TARGET}", "--std=c++17",
               "--fmad=false", f"--include-path={nvidia}/cuda_runtime/include", f"--include-path={nvidia}/cuda_nvcc/include"]
    sources = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "src", "agent", "kernels")
    with open(os.path.join(sources, "proof.cuh"), "rb") as file:
        header = file.read()
    for path in sorted(glob.glob(f"{sources}/*.cu")):
        name = os.path.basename(path)
        with open(path, "rb") as file:
            source = file.read()
        program = ctypes.c_void_p()
        headers, names = (ctypes.c_char_p * 1)(header), (ctypes.c_char_p * 1)(b"proof.cuh")
        check(nvrtc.nvrtcCreateProgram(ctypes.byref(program), source, name.encode(), 1, headers, names), name)
        words = (ctypes.c_char_p * len(options))(*[option.encode() for option in options])
        status = nvrtc.nvrtcCompileProgram(program, len(options), words)
        said = text(nvrtc.nvrtcGetProgramLogSize, nvrtc.nvrtcGetProgramLog, program)
        if said.strip(b"\0\n "):
            sys.stderr.write(said.decode(errors="replace").strip("\0"))
        check(status, name)
        ptx = text(nvrtc.nvrtcGetPTXSize, nvrtc.nvrtcGetPTX, program).rstrip(b"\0")
        with open(os.path.join(out, name[:-3] + ".ptx"), "wb") as file:
            file.write(ptx)


def text(size_of, read, program):
    size = ctypes.c_size_t()
    check(size_of(program, ctypes.byref(size)), "size")
    buffer = ctypes.create_string_buffer(size.value)
    check(read(program, buffer), "text")
    return buffer.raw


def check(status, what):
    if status != 0:
        sys.exit(f"{what}: the compiler answers {status}")


main(*sys.argv[1:3])
