"""gridtokenx: the aggregator's command line.

    serve      run the aggregator
    demo       the whole journey on this machine: simulated homes, agents, aggregator
    replay     rebuild the state from a journal; --verify compares it with what was published
    snapshot   let the next start replay only what comes after now
    verify     check a household's receipt offline
    receipt    fetch a household's receipt, or the proof of one transfer
    site       add a home and print its enrolment token
    authority  register a grid operator and fetch its certificate
    order      sign a grid operator's order and submit it
    revoke     shut a device out
    account    an account's kind and balances
    deposit    money that the provider holds for an account
    retire     burn banked tokens for energy that their holder took
    transfer   move, reserve, capture or free an asset
    statement  an account's settled slots as CSV or JSON
    stake      supply, validators, bonds and rewards of GTX
    erase      destroy the secret behind an account's pseudonyms
    validator  check and cosign an aggregator's log, as an independent party
    validator-key  make a validator's key and print its line of the policy
    anchor     write the log's roots to an EVM chain, or compare them with it
    plan       a year of power flows of a network: which elements fill up, how often
    network    make a network file out of a pandapower one
    prices     take recorded price publications into the store
    learn      learn from past prices what stored energy is worth
    bench      measure
    venue-sim  run the market simulator: OASIS, Data Miner and the bid gateways on made prices

Exit status: 0 done, 1 the answer is no (a check failed), 2 wrong use or configuration.
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from protos.version import __version__

VENUE_FAULTS = """\
what it does wrong, as the markets do:
  always   OASIS throttles as 429 and as a page with status 200, and bans who goes on;
           errors inside a zip with status 200; no data before publication and after 39 months;
           days of 23 and 25 hours; sessions that end with a login page and status 200;
           the same bid again gets the same answer, and another bid under its id is refused
  asked    --lost-answers, --late-awards, --double-awards, --session
  by hand  PUT /simulate/correction?feed=rt_hrl_lmps&starts_ns=..&change_cents=..  a later version
           PUT /simulate/correction?feed=caiso&starts_ns=..&change_cents=..        a rerun
           PUT /simulate/meter?bid_id=..&starts_ns=..&energy_wh=..                 meter data
           GET /settlement/{venue}/{day}   the next version of a statement;  GET /counters"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Parses the command line and runs one command."""
    options = _parser().parse_args(arguments)
    run: Callable[[argparse.Namespace], int] = options.run
    try:
        return run(options)
    except KeyboardInterrupt:
        return 130
    except (OSError, ValueError, _config_error()) as error:
        print(f"gridtokenx: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    from cloud.price_history import add_history_commands

    parser = argparse.ArgumentParser(
        prog="gridtokenx",
        description="Energy trading and virtual power plant aggregator.",
    )
    parser.add_argument("--version", action="version", version=f"gridtokenx {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_serve(commands)
    _add_demo(commands)
    _add_audit(commands)
    _add_operator(commands)
    _add_bank(commands)
    _add_validator(commands)
    _add_grid(commands)
    add_history_commands(commands)
    _add_bench(commands)
    _add_venue_sim(commands)
    return parser


def _add_serve(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    serve = commands.add_parser("serve", help="run the aggregator")
    serve.add_argument("--config", type=Path, help="TOML file; defaults need none")
    serve.add_argument("--json", action="store_true", help="print where it listens as JSON")
    serve.set_defaults(run=_serve)


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:6]) <= 65_535):
        raise argparse.ArgumentTypeError(f"{text!r} is no port; there are 1 to 65535")
    return int(text)


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise argparse.ArgumentTypeError(f"{text!r} is no count; 0 is none")
    return int(text)


def _add_demo(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    demo = commands.add_parser("demo", help="the whole journey on this machine")
    demo.add_argument("--homes", type=int, default=20)
    demo.add_argument("--slots", type=int, default=0, help="end after so many slots; 0 runs on")
    demo.add_argument("--speed", type=float, default=60.0, help="1 is real time, 60 a slot in 15 s")
    demo.add_argument("--seed", type=int, default=1)
    demo.add_argument("--port", type=_port, default=8080, help="of the console page")
    demo.add_argument("--directory", type=Path, default=Path(".demo"))
    demo.add_argument("--keep", action="store_true", help="go on with the state of the last run")
    demo.add_argument("--headless", action="store_true", help="any free port, no page to open")
    demo.add_argument(
        "--oasis",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="a recorded OASIS price file (PRC_LMP, PRC_RTPD_LMP) to trade on; may be repeated",
    )
    demo.add_argument("--json", action="store_true", help="one JSON object as the last line")
    demo.set_defaults(run=_demo)


def _add_audit(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    replay = commands.add_parser("replay", help="rebuild the state from a journal")
    replay.add_argument("--config", type=Path)
    replay.add_argument("--journal", type=Path, help="default: the last demo's")
    replay.add_argument("--verify", action="store_true", help="compare with leaves and roots")
    replay.add_argument("--json", action="store_true")
    replay.set_defaults(run=_replay)

    snapshot = commands.add_parser(
        "snapshot", help="let the next start replay only what comes after now"
    )
    snapshot.add_argument("--config", type=Path)
    snapshot.set_defaults(run=_snapshot)

    verify = commands.add_parser("verify", help="check a receipt offline")
    verify.add_argument("receipt", type=Path)
    verify.add_argument("--key", help="the log's key (text or file); default: FILE.key beside it")
    verify.add_argument("--policy", type=Path, help="who must cosign; default: FILE.policy beside")
    verify.add_argument("--json", action="store_true")
    verify.set_defaults(run=_verify)


def _add_operator(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    def remote(name: str, text: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text)
        command.add_argument("--url", default="http://127.0.0.1:8080", help="of the aggregator")
        command.add_argument("--state-dir", type=Path, default=Path(".demo/cloud"))
        return command

    site = remote("site", "add a home and print its enrolment token")
    site.add_argument("site")
    site.add_argument("--zone", default="rural")
    site.add_argument("--node", type=int, required=True)
    site.add_argument("--account", help="default: the site's name")
    site.set_defaults(run=_site)

    receipt = remote("receipt", "fetch a household's receipt, or the proof of one transfer")
    what = receipt.add_mutually_exclusive_group(required=True)
    what.add_argument("account", nargs="?", help="whose settled slot")
    what.add_argument(
        "--transfer", metavar="ID", help="as `transfer --id` had it, or 32 hex digits"
    )
    receipt.add_argument("--slot", type=int, help="default: the newest")
    receipt.add_argument("--hour", type=int, help="of the transfer, as it was answered")
    receipt.add_argument("--output", type=Path, help="default: ACCOUNT.receipt or ID.receipt")
    receipt.set_defaults(run=_receipt)

    authority = remote("authority", "register a grid operator and fetch its certificate")
    authority.add_argument("authority")
    authority.add_argument("--rank", type=int, default=1, help="0 transmission, 1 distribution")
    authority.add_argument("--area", default="rural")
    authority.add_argument("--directory", type=Path, default=Path(), help="for key and certificate")
    authority.set_defaults(run=_authority)

    revoke = remote("revoke", "shut a device out")
    revoke.add_argument("device")
    revoke.add_argument("--reason", required=True)
    revoke.set_defaults(run=_revoke)


def _add_bank(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    from cloud.money import add_bank_commands

    add_bank_commands(commands)
    for name in ("account", "deposit", "retire", "transfer", "statement", "stake", "erase"):
        commands.choices[name].set_defaults(run=_bank)


def _add_validator(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    validator = commands.add_parser("validator", help="check and cosign an aggregator's log")
    validator.add_argument("--url", default="http://127.0.0.1:8080", help="of the aggregator")
    validator.add_argument("--key", type=Path, required=True, help="made by validator-key")
    validator.add_argument("--state-dir", type=Path, required=True)
    validator.add_argument("--config", type=Path, help="the aggregator's zones; defaults need none")
    validator.add_argument("--log-key", default="", help="pin the log's key; default: first seen")
    validator.add_argument(
        "--compare",
        action="append",
        default=[],
        metavar="FILE|URL",
        help="a root that another party was shown; may be given again",
    )
    validator.add_argument("--mirror", type=Path, help="publish the checked log as files here")
    validator.set_defaults(run=_validator)

    anchor = commands.add_parser("anchor", help="write the log's roots to an EVM chain")
    anchor.add_argument("--rpc", required=True, help="http address of a node of the chain")
    anchor.add_argument("--key", type=Path, required=True, help="64 hex digits, secp256k1")
    anchor.add_argument("--state-dir", type=Path, default=Path(".demo/cloud"))
    anchor.add_argument("--minutes", type=float, default=15.0, help="between two anchors")
    anchor.add_argument("--once", action="store_true", help="anchor the newest root and end")
    anchor.add_argument("--check", action="store_true", help="compare the chain with the log")
    anchor.add_argument("--newest", default="", metavar="HASH", help="where --check begins")
    anchor.set_defaults(run=_anchor)

    key = commands.add_parser("validator-key", help="make a validator's key")
    key.add_argument("--key", type=Path, required=True)
    key.add_argument("--name", required=True, help="one word, such as utility.example")
    key.set_defaults(run=_validator_key)


def _add_grid(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    order = commands.add_parser("order", help="sign a grid operator's order and submit it")
    order.add_argument("authority")
    order.add_argument("--address", default="127.0.0.1:8445", help="of the utility port")
    order.add_argument("--directory", type=Path, default=Path(), help="of key and certificate")
    order.add_argument("--zone", default="rural")
    order.add_argument("--element", type=int, required=True)
    action = order.add_mutually_exclusive_group(required=True)
    action.add_argument("--limit", type=int, dest="limit_w", metavar="W")
    action.add_argument("--curtail", type=int, dest="curtail_to_w", metavar="W")
    action.add_argument("--reserve", type=int, dest="reserve_w", metavar="W")
    action.add_argument("--reduce", type=int, dest="reduce_by_w", metavar="W")
    order.add_argument("--minutes", type=int, default=15)
    order.add_argument("--reason", required=True, help="OVERLOAD, VOLTAGE, MAINTENANCE, ...")
    order.add_argument("--id", default="", help="submit the same order again")
    order.set_defaults(run=_order)

    plan = commands.add_parser("plan", help="which elements of a network fill up, how often")
    plan.add_argument("--network", default="rural", help="shipped name, or path of a network file")
    plan.add_argument("--growth", type=float, default=0.0, help="per cent a year, of all base flow")
    plan.add_argument("--years", type=int, default=1)
    plan.add_argument("--count", type=int, default=20, help="elements to print")
    plan.add_argument("--json", action="store_true")
    plan.set_defaults(run=_plan)

    network = commands.add_parser("network", help="make a network file from a pandapower one")
    network.add_argument("source", type=Path, help="pandapower JSON")
    network.add_argument("--output", type=Path, help="default: NAME.pgm.json.gz beside it")
    network.set_defaults(run=_network)


def _add_bench(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    bench = commands.add_parser("bench", help="measure a room")
    bench.add_argument("room", nargs="?", default="all")
    bench.add_argument("--workload", default="w1", choices=("w1", "w96", "wdeep"))
    bench.add_argument("--ops", type=int, default=0, help="run only this workload, so long")
    bench.add_argument("--json", action="store_true")
    bench.set_defaults(run=_bench)


def _add_venue_sim(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    sim = commands.add_parser(
        "venue-sim",
        help="run the market simulator",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=VENUE_FAULTS,
    )
    sim.add_argument("--host", default="127.0.0.1")
    sim.add_argument("--port", type=_port, default=8090)
    sim.add_argument("--lost-answers", type=_count, default=0, help="lose every n-th bid's answer")
    sim.add_argument("--late-awards", type=_count, default=0, metavar="SECONDS")
    sim.add_argument("--double-awards", action="store_true", help="report each award twice")
    sim.add_argument(
        "--session", type=_count, default=900, metavar="SECONDS", help="of PJM's login"
    )
    sim.set_defaults(run=_venue_sim)


def _config_error() -> type[Exception]:
    from cloud.config import ConfigError

    return ConfigError


def _serve(options: argparse.Namespace) -> int:
    from cloud.config import load_config
    from cloud.service import run_service

    return run_service(load_config(options.config), as_json=options.json)


def _demo(options: argparse.Namespace) -> int:
    from cloud.demo.processes import DemoOptions
    from cloud.demo.run import run_demo

    return run_demo(
        DemoOptions(
            homes=options.homes,
            slots=options.slots,
            speed=options.speed,
            seed=options.seed,
            port=0 if options.headless else options.port,
            directory=options.directory,
            keep=options.keep,
            headless=options.headless,
            as_json=options.json,
            oasis=tuple(options.oasis),
        )
    )


def _replay(options: argparse.Namespace) -> int:
    from cloud.audit import replay_journal

    return replay_journal(
        options.config, options.journal, check=options.verify, as_json=options.json
    )


def _snapshot(options: argparse.Namespace) -> int:
    from cloud.audit import snapshot_journal

    return snapshot_journal(options.config)


def _verify(options: argparse.Namespace) -> int:
    from cloud.audit import verify_receipt

    return verify_receipt(options.receipt, options.key, as_json=options.json, policy=options.policy)


def _validator(options: argparse.Namespace) -> int:
    from cloud.validator.command import validate

    return validate(
        options.config,
        options.url,
        options.key,
        options.state_dir,
        log_key=options.log_key,
        compare=tuple(options.compare),
        mirror=options.mirror,
    )


def _anchor(options: argparse.Namespace) -> int:
    from cloud.anchor.command import anchor

    return anchor(
        options.rpc,
        options.key,
        options.state_dir,
        every_s=60 * options.minutes,
        once=options.once,
        check=options.check,
        newest=options.newest,
    )


def _validator_key(options: argparse.Namespace) -> int:
    from cloud.validator.files import make_key

    print(make_key(options.key, options.name))
    return 0


def _site(options: argparse.Namespace) -> int:
    from cloud.remote import Operator

    answer = Operator(options.url, options.state_dir).post(
        "/api/sites",
        {
            "site": options.site,
            "zone": options.zone,
            "node": options.node,
            "account": options.account or options.site,
        },
    )
    print(json.dumps(answer))
    return 0


def _receipt(options: argparse.Namespace) -> int:
    from cloud.money import transfer_id
    from cloud.remote import Operator
    from protos.receipt import is_cosigned

    operator = Operator(options.url, options.state_dir)
    if options.transfer:
        query = "" if options.hour is None else f"?hour={options.hour}"
        route = f"/api/transfers/{transfer_id(options.transfer)}/receipt{query}"
    else:
        query = "" if options.slot is None else f"?slot={options.slot}"
        route = f"/api/receipts/{options.account}{query}"
    output = options.output or Path(f"{options.transfer or options.account}.receipt")
    text = operator.get(route)
    output.write_text(text, encoding="utf-8")
    key = output.with_name(output.name + ".key")
    key.write_text(operator.get("/api/log/key"), encoding="ascii")
    if is_cosigned(text):
        policy = output.with_name(output.name + ".policy")
        policy.write_text(operator.get("/log/policy"), encoding="utf-8")
    print(f"{output} written; check it offline with: gridtokenx verify {output}")
    return 0


def _authority(options: argparse.Namespace) -> int:
    from cloud.remote import register_authority

    paths = register_authority(
        options.url,
        options.state_dir,
        options.authority,
        options.rank,
        options.area,
        options.directory,
    )
    print(json.dumps({name: str(path) for name, path in paths.items()}))
    return 0


def _order(options: argparse.Namespace) -> int:
    from cloud.gate.order_client import ACTIONS, submit_order, write_order
    from protos.clock import clock_from_environment

    action = next(name for name in ACTIONS if getattr(options, name) is not None)
    order = write_order(
        options.authority,
        options.zone,
        options.element,
        action,
        getattr(options, action),
        options.reason,
        options.minutes,
        clock_from_environment().now_ns(),
        options.id,
    )
    print(json.dumps(submit_order(options.address, options.directory, order)))
    return 0


def _plan(options: argparse.Namespace) -> int:
    from cloud.grid.planning import plan_lines, plan_record, plan_year
    from cloud.grid.shipped import network_named

    network = network_named(options.network)
    found = plan_year(
        network, growth_per_cent=options.growth, years=options.years, count=options.count
    )
    if options.json:
        print(json.dumps(plan_record(network, found)))
    else:
        print("\n".join(plan_lines(network, found, options.count)))
    return 0


def _network(options: argparse.Namespace) -> int:
    from cloud.grid.data.convert import convert_file

    path, words = convert_file(options.source, options.output)
    print(f"{path} written: {words}; give its path as the zone's network")
    return 0


def _revoke(options: argparse.Namespace) -> int:
    from cloud.remote import Operator

    body = {"device": options.device, "reason": options.reason}
    print(json.dumps(Operator(options.url, options.state_dir).post("/api/revocations", body)))
    return 0


def _bank(options: argparse.Namespace) -> int:
    print(options.bank(options))
    return 0


def _bench(options: argparse.Namespace) -> int:
    from cloud.bench import run_bench

    return run_bench(options.room, workload=options.workload, ops=options.ops, as_json=options.json)


def _venue_sim(options: argparse.Namespace) -> int:
    from cloud.venues.sim import Faults, VenueSim
    from cloud.venues.sim_http import run_sim
    from protos.clock import SECOND_NS, clock_from_environment

    faults = Faults(
        session_ns=options.session * SECOND_NS,
        lost_answer_every=options.lost_answers,
        late_award_ns=options.late_awards * SECOND_NS,
        double_awards=options.double_awards,
    )
    print(f"market simulator on http://{options.host}:{options.port}", flush=True)
    run_sim(options.host, options.port, VenueSim(faults), clock_from_environment())
    return 0


if __name__ == "__main__":
    sys.exit(main())
