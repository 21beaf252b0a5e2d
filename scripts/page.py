"""Puts the page into a stage's bucket, and takes it out again. Used by deploy.py; cdk/lib/web.ts made bucket and CloudFront.

The inspect page stays at home: it shows everything that was ever said. `outputs` are the stack's. Publishing may break off
and be repeated.
"""

import json
import subprocess
import tempfile
from pathlib import Path

import tools

FOLDER = tools.ROOT / "web"
# What is published as it is. `index.html` is last: what it needs is there by then.
TYPES = {
    ".svg": "image/svg+xml",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".html": "text/html; charset=utf-8",
}
LOCAL = "inspect.*"
# A browser asks each time whether what it has is current; CloudFront need not ask the bucket, as it is told of changes.
CURRENT = "public, max-age=0, must-revalidate, s-maxage=86400"
NEVER_KEPT = "no-store"


def publish(outputs):
    bucket = f"s3://{outputs['PageBucket']}"
    print(f"publishing the page: {outputs['Page']}", flush=True)
    with tempfile.TemporaryDirectory(prefix="webchat-page-") as folder:
        config = Path(folder) / "config.json"
        config.write_text(json.dumps({"url": outputs["Url"], "inspect": False}))
        put(config, f"{bucket}/{config.name}", "application/json", NEVER_KEPT)
    for suffix, kind in TYPES.items():
        which = ["--recursive", "--exclude", "*", "--include", f"*{suffix}", "--exclude", LOCAL]
        put(FOLDER, bucket, kind, CURRENT, *which)
    current = [word for file in FOLDER.iterdir() if not file.match(LOCAL) for word in ("--exclude", file.name)]
    aws("s3", "rm", bucket, "--recursive", *current, "--exclude", "config.json")
    aws("cloudfront", "create-invalidation", "--distribution-id", outputs["PageDistribution"], "--paths", "/*")


def withdraw(outputs):
    """Empties the bucket, if there is one."""
    if "PageBucket" in outputs:
        aws("s3", "rm", f"s3://{outputs['PageBucket']}", "--recursive")


def put(source, target, kind, cache, *which):
    aws("s3", "cp", str(source), target, "--content-type", kind, "--cache-control", cache, *which)


def aws(*arguments):
    subprocess.run(["aws", *arguments], check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
