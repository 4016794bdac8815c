"""`transformer serve`: a page and an API for programs, over HTTP."""

from __future__ import annotations

import argparse
import logging
import socket
from typing import TYPE_CHECKING

from transformer.cli.arguments import Once, add_device, as_path, is_override, positive
from transformer.errors import ConfigError

if TYPE_CHECKING:
    from transformer.serving.security import Keys

HELP = "serve models over HTTP: a page to try them, and the LibreTranslate API"
CPU_TOKENS, GPU_TOKENS = 512, 8192
"""`--batch-tokens`. That of a GPU was not measured."""
log = logging.getLogger("transformer.serving")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `serve`."""
    parser.add_argument(
        "runs", metavar="RUN", nargs="+", help="run directory, or RUN@CHECKPOINT; several for several language pairs"
    )
    parser.add_argument("overrides", metavar="KEY=VALUE", nargs="*", help="setting to change, such as decode.beam=2")
    add_device(parser)
    address = parser.add_argument_group("address")
    address.add_argument("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1, this machine)")
    address.add_argument("--port", type=_port, default=5000, help="port to listen on (default: 5000; 0: a free one)")
    address.add_argument(
        "--allow-host", metavar="NAME", action="append", default=[], help="name by which browsers may call the server"
    )
    address.add_argument(
        "--allow-origin", metavar="URL", action="append", default=[], help="site whose pages may use the server"
    )
    key = address.add_mutually_exclusive_group()
    key.add_argument("--api-keys", type=as_path, metavar="FILE", action=Once, help="file of API keys, one a line")
    key.add_argument("--no-api-key", action="store_true", help="serve other machines without an API key")
    limits = parser.add_argument_group("limits")
    for name, default, text in (
        ("char-limit", 10_000, "characters of a text"),
        ("batch-limit", 100, "texts of a request"),
        ("queue", 4000, "lines that wait for a model"),
        ("timeout", 60, "seconds until a request is answered or refused"),
        ("drain", 30, "seconds to answer what was asked before SIGTERM"),
    ):
        limits.add_argument(
            f"--{name}", type=positive, default=default, metavar="N", help=f"{text} (default: {default})"
        )
    limits.add_argument(
        "--batch-tokens",
        type=positive,
        metavar="N",
        help=f"source tokens that are translated together (default: {CPU_TOKENS}, on a GPU {GPU_TOKENS})",
    )
    limits.add_argument(
        "--req-limit", type=positive, metavar="N", help="requests of a client in a minute (default: any)"
    )


def run(args: argparse.Namespace) -> int:
    """Serve until a signal."""
    given = [*args.runs, *args.overrides]
    names, overrides = ([text for text in given if is_override(text) is wanted] for wanted in (False, True))
    if not names:
        raise ConfigError("give the run directory of a model")
    _check_packages()
    from transformer.serving.security import Keys, read_keys
    from transformer.serving.server import bind, is_loopback

    keys = Keys() if args.api_keys is None else read_keys(args.api_keys)
    with bind(args.host, args.port) as bound:
        if not is_loopback(bound) and not keys and not args.no_api_key:
            raise ConfigError(
                f"other machines can reach {args.host}: give --api-keys FILE, or --no-api-key to let everyone translate"
            )
        _serve(args, names, overrides, keys, bound)
    return 0


def _serve(args: argparse.Namespace, names: list[str], overrides: list[str], keys: Keys, bound: socket.socket) -> None:
    from transformer.serving.app import make_app
    from transformer.serving.detection import make_detector
    from transformer.serving.limits import Limits
    from transformer.serving.metrics import Metrics
    from transformer.serving.models import load_models
    from transformer.serving.server import address_of, make_server
    from transformer.serving.service import Service
    from transformer.system.device import resolve_device

    device = resolve_device(args.device)
    limits = Limits(
        characters=args.char_limit,
        texts=args.batch_limit,
        queue=args.queue,
        batch_tokens=args.batch_tokens or (CPU_TOKENS if device.type == "cpu" else GPU_TOKENS),
        seconds=args.timeout,
        requests=args.req_limit or 0,
    )
    metrics = Metrics()
    catalogue = load_models(names, overrides, device, limits, metrics.observe)
    service = Service(catalogue, make_detector(catalogue.sources), limits, keys, metrics)
    app = make_app(service, args.allow_host, args.allow_origin)

    def announce() -> None:
        log.info("serving on %s; Ctrl-C stops", address_of(bound))

    make_server(app, limits.seconds, args.drain, announce).run(sockets=[bound])


def _check_packages() -> None:
    try:
        import prometheus_client  # noqa: F401
        import python_multipart  # noqa: F401
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            f"serve needs the package {error.name}: pip install 'transformer-translation[serve]'"
        ) from None


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port")
    return int(text)
