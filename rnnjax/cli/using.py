"""Commands that use a trained model: sample, score, export."""

from __future__ import annotations

import argparse

from rnnjax.cli.options import add_code, checkpoint, import_code
from rnnjax.cli.terminal import opening, print_json, print_table
from rnnjax.config import InputError


def add_sample(parser: argparse.ArgumentParser) -> None:
    """draw text from a trained model"""
    parser.add_argument("run", help="the run's folder")
    add_code(parser)
    parser.add_argument("--prompt", action="append", default=[], help="text to go on from; may be given several times")
    parser.add_argument("--length", type=int, default=500, help="symbols to draw (default: 500)")
    parser.add_argument("--temperature", type=float, default=0.5, help="0 takes the likeliest symbol (default: 0.5)")
    parser.add_argument("--top-k", type=int, default=0, help="draw from so many likeliest symbols (0: from all)")
    parser.add_argument(
        "--top-p", type=float, default=1.0, help="draw from the likeliest that together have this probability"
    )
    parser.add_argument("--rows", type=int, default=1, help="continuations of each prompt")
    parser.add_argument("--seed", type=int, default=0, help="of the draws")
    parser.add_argument("--checkpoint", default="latest", help="latest, best, or a step (default: latest)")
    parser.add_argument("--json", action="store_true", help="for machines")


def sample(known: argparse.Namespace) -> None:
    """Prints what the model draws."""
    from rnnjax.run import open_run

    import_code(known)
    drawn = open_run(known.run).sample(
        known.prompt,
        length=known.length,
        temperature=known.temperature,
        top_k=known.top_k,
        top_p=known.top_p,
        rows=known.rows,
        seed=known.seed,
        checkpoint=checkpoint(known),
    )
    if known.json:
        print_json([{"prompt": prompt, "text": text} for prompt, text in drawn])
        return
    print("\n\n".join(prompt + text for prompt, text in drawn))


def add_score(parser: argparse.ArgumentParser) -> None:
    """tell how likely a trained model finds a text"""
    parser.add_argument("run", help="the run's folder")
    parser.add_argument("--text", action="append", default=[], help="a text to score; may be given several times")
    parser.add_argument("--file", action="append", default=[], help="a file whose text is scored")
    parser.add_argument("--checkpoint", default="latest", help="latest, best, or a step (default: latest)")
    add_code(parser)
    parser.add_argument("--json", action="store_true", help="for machines, with every symbol's log-probability")


def score(known: argparse.Namespace) -> None:
    """Prints how likely the model finds each text."""
    from rnnjax.run import open_run
    from rnnjax.tasks.sources import read_text

    import_code(known)
    texts = [*known.text, *map(read_text, known.file)]
    if not texts:
        raise InputError("nothing to score", "after 'rnnjax score'", "give --text TEXT or --file FILE")
    found = open_run(known.run).score(texts, checkpoint=checkpoint(known))
    rows = [
        {"text": text, "symbols": int(n), "nats": float(nats), "bits_per_symbol": float(bits)}
        for text, n, nats, bits in zip(texts, found.symbols, found.nats, found.bits_per_symbol, strict=True)
    ]
    if known.json:
        print_json([{**r, "each": v.tolist()} for r, v in zip(rows, found.log_probability, strict=True)])
        return
    lines = [(opening(r["text"]), r["symbols"], f"{r['nats']:.2f}", f"{r['bits_per_symbol']:.3f}") for r in rows]
    title = "log-probability" + (", given the first symbol" if found.first else "")
    print_table(title, ["text", "symbols", "nats", "bits a symbol"], lines)


def add_export(parser: argparse.ArgumentParser) -> None:
    """write trained weights for another library"""
    parser.add_argument("run", help="the run's folder")
    parser.add_argument("--to", required=True, metavar="LIBRARY", help="torch, keras, flax, linen, onnx or npz")
    parser.add_argument("--out", help="what the files are called (default: in the run's folder, export/NAME)")
    parser.add_argument("--checkpoint", default="latest", help="latest, best, or a step (default: latest)")
    add_code(parser)
    parser.add_argument("--json", action="store_true", help="for machines")


def export(known: argparse.Namespace) -> None:
    """Writes the weights and prints the files."""
    from rnnjax.run import open_run

    import_code(known)
    written = open_run(known.run).export(known.to, known.out, checkpoint=checkpoint(known))
    if known.json:
        print_json([str(path) for path in written])
        return
    for path in written:
        print(path)
