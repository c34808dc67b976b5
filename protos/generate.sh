#!/bin/sh
# Makes the generated code again. The result is committed; tests/test_generated.py compares it.
set -eu
cd "$(dirname "$0")/.."
out="${1:-.}"
"${PYTHON:-.venv/bin/python}" -m grpc_tools.protoc -I . --python_out="$out" --pyi_out="$out" \
  --grpc_python_out="$out" protos/*.proto
# Payloads and shared messages carry no service.
for stem in common payload; do rm -f "$out/protos/${stem}_pb2_grpc.py"; done
