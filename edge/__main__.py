"""The command line of the gateway.

Exit codes: 0 done; 1 an unexpected error; 2 wrong usage or configuration; 3 keys, enrolment or
outbox not usable; 4 the chain is forked and a person must act; 5 a check failed (doctor, verify,
scan without a find); 130 interrupted.

Heavy imports are made by the command that needs them, so that `--help` is instant.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from protos.version import __version__

PROG = "gridtokenx-edge"
USAGE, STATE, FORKED, CHECK, INTERRUPTED = 2, 3, 4, 5, 130
CONFIG = Path("/etc/gridtokenx/agent.toml")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        return _command(arguments)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        return 1


def _command(arguments: list[str]) -> int:
    # These three have command lines of their own.
    match arguments[:1]:
        case ["simulate"]:
            from edge.simulator.fleet import main as simulate

            return simulate(arguments[1:])
        case ["scan"]:
            from edge.scan import main as scan

            return scan(arguments[1:])
        case ["doctor"]:
            from edge.doctor import main as doctor

            return doctor(arguments[1:])
    options = _parser().parse_args(arguments)
    return int(options.command(options))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        PROG,
        description="Reads a home's meters and inverters, signs what they say, and trades for it.",
        epilog="exit codes: 0 done, 2 usage or configuration, 3 keys, enrolment or outbox,"
        " 4 forked chain, 5 a check failed",
    )
    parser.add_argument("--version", action="version", version=f"{PROG} {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    _add_run(commands)
    _add_enrol(commands)
    _add_checks(commands)
    commands.add_parser("simulate", help="simulated homes with real Modbus servers", add_help=False)
    return parser


def _add_run(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    run = commands.add_parser("run", help="run the agent; several configs are several gateways")
    run.add_argument("configs", nargs="*", type=Path, metavar="CONFIG", help=f"default {CONFIG}")
    run.add_argument("--log-level", default="INFO", choices=["DEBUG", "INFO", "WARNING", "ERROR"])
    run.add_argument("--check", action="store_true", help="only read the configuration")
    _add_json(run)
    run.set_defaults(command=_run)
    status = commands.add_parser("status", help="ask a running agent how it is")
    status.add_argument("--state-dir", type=Path, required=True)
    status.add_argument("--metrics", action="store_true", help="numbers as lines for a collector")
    status.set_defaults(command=_status)


def _add_enrol(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    enrol = commands.add_parser("enrol", help="exchange a one-time token for a certificate")
    token = enrol.add_mutually_exclusive_group(required=True)
    token.add_argument("--token", help="seen by other users of this machine; see --token-file")
    token.add_argument(
        "--token-file", type=Path, help="a file with the token, - for standard input"
    )
    enrol.add_argument("--cloud", required=True, metavar="HOST:PORT")
    enrol.add_argument("--ca", required=True, type=Path, metavar="FILE", help="the cloud's ca.pem")
    enrol.add_argument("--state-dir", required=True, type=Path, metavar="DIR")
    enrol.add_argument("--server-name", default="", help="where the certificate names another host")
    enrol.add_argument(
        "--config", type=Path, metavar="FILE", help="whose [key] section says where the key lies"
    )
    enrol.add_argument("--fresh", action="store_true", help="set an old identity aside first")
    _add_json(enrol)
    enrol.set_defaults(command=_enrol)


def _add_checks(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    commands.add_parser("scan", help="find meters and inverters", add_help=False)
    commands.add_parser("doctor", help="check this gateway, step by step", add_help=False)
    verify = commands.add_parser("verify", help="check a receipt without a connection")
    verify.add_argument("receipt", type=Path, metavar="RECEIPT")
    verify.add_argument("--key", required=True, type=Path, metavar="FILE", help="the log's key")
    _add_json(verify)
    verify.set_defaults(command=_verify)


def _add_json(command: argparse.ArgumentParser) -> None:
    command.add_argument("--json", action="store_true", help="the answer as one JSON object")


def _say(options: argparse.Namespace, text: str, **facts: object) -> None:
    """The answer: for people, or where it was asked for as JSON, for programs."""
    import json

    print(json.dumps(facts) if options.json else text)


def _complain(code: int, error: object) -> int:
    print(f"{PROG}: {error}", file=sys.stderr)
    return code


def _quiet_transport() -> None:
    """The transport's own chatter on standard error is not our log. Before it is first imported."""
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")


def _run(options: argparse.Namespace) -> int:
    import gc

    from edge.lean import load_without_tls, put_off_what_reading_does_not_need

    # Imports leave nothing to collect, and looking for it is a tenth of their time.
    gc.disable()
    load_without_tls()
    put_off_what_reading_does_not_need()
    from edge.config import ConfigError, load

    try:
        configs = [load(path) for path in options.configs or [CONFIG]]
    except ConfigError as error:
        return _complain(USAGE, error)
    if options.check:
        devices = sum(len(config.devices) for config in configs)
        text = f"{len(configs)} configuration(s) are well formed"
        _say(options, text, configurations=len(configs), devices=devices)
        return 0
    _quiet_transport()
    from edge.process import run_all

    return run_all(configs, options.log_level)


def _status(options: argparse.Namespace) -> int:
    import json
    import socket

    from edge.health import as_metrics

    path = options.state_dir / "agent.sock"
    try:
        with socket.socket(socket.AF_UNIX) as channel:
            channel.settimeout(5)
            channel.connect(str(path))
            text = channel.makefile(encoding="utf-8").read()
    except OSError as error:
        return _complain(CHECK, f"{path}: {error.strerror or error}; is the agent running?")
    status = json.loads(text)
    print(as_metrics(status) if options.metrics else json.dumps(status, indent=1))
    return 0


def _enrol(options: argparse.Namespace) -> int:
    import asyncio

    _quiet_transport()
    from edge.config import ConfigError, KeySection, load
    from edge.enrol import EnrolmentError, enrol, set_aside
    from edge.keys import KeyFileError, load_or_create_signer

    try:
        key = load(options.config).key if options.config else KeySection()
    except ConfigError as error:
        return _complain(USAGE, error)
    try:
        token = _token(options)
        if options.fresh:
            aside = set_aside(options.state_dir)
            if aside:
                # Beside the answer, so that a program can still read that.
                print(f"the old identity is in {aside}", file=sys.stderr)
        signer = load_or_create_signer(options.state_dir, key)
        where = (options.cloud, options.ca, options.server_name)
        enrolment = asyncio.run(enrol(options.state_dir, token, *where, signer))
    except (EnrolmentError, KeyFileError) as error:
        return _complain(STATE, error)
    except OSError as error:
        return _complain(STATE, f"{error.filename or options.state_dir}: {error.strerror}")
    gateway = enrolment.gateway or options.cloud
    _say(
        options,
        f"enrolled {enrolment.device} at {enrolment.site} in zone {enrolment.zone}\n"
        f"gateway service: {gateway}",
        device=enrolment.device,
        site=enrolment.site,
        zone=enrolment.zone,
        gateway=gateway,
    )
    return 0


def _token(options: argparse.Namespace) -> str:
    if options.token_file is None:
        return str(options.token)
    if str(options.token_file) == "-":
        return sys.stdin.readline().strip()
    return str(options.token_file.read_text(encoding="utf-8")).strip()


def _verify(options: argparse.Namespace) -> int:
    from protos.receipt import ReceiptError, verify
    from protos.witness import PolicyError, parse_policy

    beside = options.receipt.with_name(options.receipt.name + ".policy")
    try:
        receipt = options.receipt.read_bytes()
        key = options.key.read_text(encoding="utf-8").strip()
        policy = parse_policy(beside.read_text(encoding="utf-8")) if beside.exists() else None
    except (OSError, UnicodeDecodeError, PolicyError) as error:
        return _complain(USAGE, error)
    try:
        proven = verify(receipt, key, policy)
    except ReceiptError as error:
        return _complain(CHECK, f"{options.receipt}: {error}")
    size, origin = proven.checkpoint.size, proven.checkpoint.origin
    leaf = proven.leaf.decode("utf-8", "backslashreplace")
    text = f"proven: leaf {proven.index} of {size} in {origin}\n{leaf}"
    _say(options, text, index=proven.index, size=size, origin=origin, leaf=leaf)
    return 0


if __name__ == "__main__":
    sys.exit(main())
