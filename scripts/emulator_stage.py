"""A stage of webchat on the emulator: start it, deploy to it, talk to it, take permissions away, look into it.

Used by emulator.py alone, which says what is proven with it. Needs botocore, so ministack's own Python.
"""

import contextlib
import json
import os
import platform
import re
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import botocore.session
from botocore.auth import SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

import tools

STAGE = "e2e"
STACK = f"webchat-{STAGE}"
REGION = "us-east-1"
ACCOUNT = "000000000000"
SCRIPTS = tools.ROOT / "scripts"


class Failed(Exception):
    """Why a check failed."""


class Emulator:
    """A running ministack, and what is done with it."""

    def __init__(self, folder):
        self.folder = folder
        with socket.create_server(("127.0.0.1", 0)) as plain, socket.create_server(("127.0.0.1", 0)) as tls:
            self.port, self.tls_port = plain.getsockname()[1], tls.getsockname()[1]
        self.endpoint = f"http://127.0.0.1:{self.port}"

    def __enter__(self):
        # Nothing of the user's environment: functions get to see what the emulator sees.
        environment = {
            "PATH": "/usr/bin:/bin",
            "HOME": str(self.folder),
            "TMPDIR": str(self.folder),
            "BIND_HOST": "127.0.0.1",
            "GATEWAY_PORT": str(self.port),
            "TLS_PORT": str(self.tls_port),
            "MINISTACK_HOST": f"{REGION}.amazonaws.com",  # so that an API answers to its deployed name
            "LAMBDA_EXECUTOR": "local",
            "AUTH": "true",
            **self.aws_environment(),
        }
        self.log = open(self.folder / "ministack.log", "w+")
        command = [tools.MINISTACK_BIN / "python", SCRIPTS / "emulator_server.py"]
        self.server = subprocess.Popen(
            command, cwd=self.folder, env=environment, stdout=self.log, stderr=subprocess.STDOUT
        )
        for _ in range(300):
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{self.endpoint}/_ministack/health"):
                return self
            if self.server.poll() is not None:
                break
            time.sleep(0.1)
        print(self.last_words())
        sys.exit("FAILED starting the emulator")

    def __exit__(self, *_):
        self.server.terminate()
        try:
            self.server.wait(20)
        except subprocess.TimeoutExpired:
            self.server.kill()
            self.server.wait()
        self.log.close()

    def last_words(self):
        self.log.flush()
        return "".join(Path(self.log.name).read_text(errors="replace").splitlines(keepends=True)[-30:])

    def aws_environment(self):
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
        }

    def environment(self):
        """Ours, with an AWS that is the emulator and nothing else."""
        return {
            **{name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
            **self.aws_environment(),
            # Buckets refuse plain http.
            "AWS_ENDPOINT_URL_S3": f"https://127.0.0.1:{self.tls_port}",
            "AWS_CA_BUNDLE": str(self.folder / "ministack-tls" / "server.crt"),
            "AWS_CONFIG_FILE": str(self.folder / "none"),
            "AWS_SHARED_CREDENTIALS_FILE": str(self.folder / "none"),
            "PATH": f"{tools.AWS_CLI_BIN}{os.pathsep}{os.environ['PATH']}",
            "CI": "1",
            "NODE_NO_WARNINGS": "1",
            "RUST_BACKTRACE": "0",
        }

    def client(self, service):
        session = botocore.session.Session()
        return session.create_client(
            service, region_name=REGION, endpoint_url=self.endpoint, aws_access_key_id="test", aws_secret_access_key="test"
        )

    # Deploying.

    def bootstrap(self):
        self.run(tools.CDK, "bootstrap", f"aws://{ACCOUNT}/{REGION}")

    def deploy(self, *context):
        arch = "arm64" if platform.machine() in ("aarch64", "arm64") else "x86_64"
        endpoint = f"endpoint={self.endpoint}/_aws/execute-api"
        self.run(sys.executable, SCRIPTS / "deploy.py", "deploy", f"stage={STAGE}", f"arch={arch}", endpoint, *context)

    def destroy(self, answer, *arguments):
        self.run(sys.executable, SCRIPTS / "deploy.py", "destroy", f"stage={STAGE}", *arguments, answer=answer)

    def cdk_destroy(self):
        arch = json.loads(self.outputs()["Settings"])["arch"]
        self.run(tools.CDK, "destroy", STACK, "--force", "-c", f"stage={STAGE}", "-c", f"arch={arch}", cwd=tools.CDK_FOLDER)

    def run(self, *command, answer="", cwd=tools.ROOT):
        done = subprocess.run(
            [str(word) for word in command],
            cwd=cwd,
            env=self.environment(),
            input=answer + "\n",
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if done.returncode != 0:
            if not answer:
                print(done.stdout[-4000:])
            done.check_returncode()

    def outputs(self):
        stacks = self.client("cloudformation").describe_stacks(StackName=STACK)["Stacks"]
        return {output["OutputKey"]: output["OutputValue"] for output in stacks[0]["Outputs"]}

    def url(self):
        """Where the stack's WebSocket URL is on the emulator."""
        api = re.match(r"wss://([^.]+)\.", self.outputs()["Url"])[1]
        return f"ws://127.0.0.1:{self.port}/_aws/execute-api/{api}/{STAGE}"

    def signed_url(self):
        request = AWSRequest("GET", self.url().replace("ws://", "http://", 1))
        SigV4QueryAuth(Credentials("test", "test"), "execute-api", REGION, expires=60).add_auth(request)
        return request.url.replace("http://", "ws://", 1)

    # Using.

    def cargo_test(self, *arguments):
        """Runs the scenarios against the stage; gives status and output."""
        command, settings = self.scenarios(*arguments)
        return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **settings)

    def webchat(self, command, *arguments):
        """Runs a command of ours on the stage; gives status and output."""
        where = ["--stage", STAGE, "--endpoint-url", f"http://127.0.0.1:{self.port}"]
        run = ["cargo", "run", "-q", "--bin", "webchat", "--", command, *where, *arguments]
        return subprocess.run(run, capture_output=True, text=True, cwd=tools.ROOT, env=self.environment())

    def browser_test(self):
        """Runs tests/browser/deployed.js on the page as deployed; gives status and output."""
        settings = {"WEBCHAT_PAGE": self.outputs()["Page"], "WEBCHAT_TLS": f"127.0.0.1:{self.tls_port}"}
        run = ["npm", "run", "--silent", "deployed", "--prefix", tools.BROWSER_FOLDER]
        environment = self.environment() | settings
        return subprocess.run(run, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)

    def start_scenario(self, name):
        command, settings = self.scenarios("--exact", name)
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **settings)

    def scenarios(self, *arguments):
        # --workspace: the same features, so the same build, as the step `cargo test`.
        command = ["cargo", "test", "--workspace", "--test", "scenarios", "--", *arguments]
        return command, {"cwd": tools.ROOT, "env": self.environment() | {"WEBCHAT_URL": self.url()}}

    def start_sweep(self):
        """One run of `manage` by the schedule, over one connection that is long gone."""
        row = {"connection": "ghost", "live": "0", "opened_at": "2020-01-01T00:00:00.000Z"}
        item = {name: {"S": value} for name, value in row.items()}
        self.client("dynamodb").put_item(TableName=f"{STACK}-connections", Item=item)
        payload = json.dumps({"detail-type": "Scheduled Event", "source": "aws.events", "detail": {}})
        command = ["aws", "lambda", "invoke", "--function-name", f"{STACK}-manage", "--payload", payload, os.devnull]
        return subprocess.Popen(command, env=self.environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    @contextlib.contextmanager
    def without(self, function, action, resource):
        """Takes a permission from a function's role, and gives it back."""
        iam = self.client("iam")
        configuration = self.client("lambda").get_function_configuration(FunctionName=f"{STACK}-{function}")
        role = configuration["Role"].split("/")[-1]
        [policy] = iam.list_role_policies(RoleName=role)["PolicyNames"]
        document = iam.get_role_policy(RoleName=role, PolicyName=policy)["PolicyDocument"]
        less = json.loads(json.dumps(document))
        for statement in less["Statement"]:
            if resource in statement["Resource"]:
                actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
                statement["Action"] = [kept for kept in actions if kept != action]
        less["Statement"] = [statement for statement in less["Statement"] if statement["Action"]]
        if less == document:
            raise Failed(f"{function} has no {action} on {resource}")
        put = {"RoleName": role, "PolicyName": policy}
        iam.put_role_policy(**put, PolicyDocument=json.dumps(less))
        try:
            yield
        finally:
            iam.put_role_policy(**put, PolicyDocument=json.dumps(document))

    def wait_for_denial(self, function, action, since):
        """Whether the function logs that it may not do this."""
        logs = self.client("logs")
        until = time.monotonic() + 60
        while time.monotonic() < until:
            found = logs.filter_log_events(logGroupName=f"/aws/lambda/{STACK}-{function}", startTime=since)["events"]
            if any("AccessDenied" in event["message"] and action in event["message"] for event in found):
                return True
            time.sleep(0.2)
        return False

    def events(self):
        """The keys of all events."""
        pages = self.client("dynamodb").get_paginator("scan").paginate(TableName=f"{STACK}-events", ConsistentRead=True)
        return {(item["stream"]["S"], item["id"]["S"]) for page in pages for item in page["Items"]}
