#!/usr/bin/env python3
"""Puts a stage into an AWS account, or takes it away: `make deploy STAGE=poc`, `make destroy STAGE=poc`.

Everything that can be wrong (a tool, credentials, a value) is looked for first and said in one line; only then is anything
built or deployed. The work is done by the CDK app in cdk/ and by CloudFormation. Used on AWS by people, on the emulator by
emulator.py.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile

import page
import tools

# Choices that a later deployment keeps unless it says otherwise (the stack's output `Settings`).
KEPT = ["auth", "allowedOrigins", "web", "retentionDays", "alarmEmail", "arch"]


class Wrong(Exception):
    """What is wrong and what would be right, in one line."""


def main():
    arguments = [argument for argument in sys.argv[2:] if not argument.endswith("=")]
    given = dict(argument.split("=", 1) for argument in arguments)
    command = {"deploy": deploy, "destroy": destroy}.get(sys.argv[1] if len(sys.argv) > 1 else "")
    if not command:
        sys.exit("usage: deploy.py deploy|destroy stage=… [name=value …]")
    try:
        command(given)
    except Wrong as why:
        sys.exit(f"webchat: {why}")
    except subprocess.CalledProcessError as failed:
        sys.exit(f"webchat: `{' '.join(map(str, failed.cmd[:3]))} …` failed; docs/RUNBOOK.md#failed-deployment says what to do")


def deploy(given):
    require_tools("node", "npm", "cargo", "aws")
    tools.install_cdk()
    checked(given)  # before anybody is asked for credentials
    account, region = identity()
    deployed = outputs(f"webchat-{given['stage']}")
    kept = json.loads(deployed.get("Settings", "{}"))
    context = {**{name: kept[name] for name in KEPT if kept.get(name)}, **given}
    config = checked(context)
    stack = f"webchat-{config['stage']}"

    print(f"deploying {stack} ({config['arch']}, auth={config['auth']}) to {account} in {region}", flush=True)
    tools.run(sys.executable, tools.ROOT / "scripts" / "bundle.py", config["arch"])
    with tempfile.TemporaryDirectory(prefix="webchat-cdk-") as assembly:
        synthesise(context, assembly)
        prepare_account(account, region, assembly)
        if "PageBucket" in deployed and not config["web"]:
            page.withdraw(deployed)
        cdk_deploy(stack, assembly, adopt=not stack_exists(stack) and table_exists(f"{stack}-events"))
    deployed = outputs(stack)
    url = deployed["Url"]
    if config["web"]:
        page.publish(deployed)
    print(f"\n{stack} is deployed:\n  {url}\n")
    if config["auth"] == "none":
        print(f"Connect: npx wscat -c {url}")
    if config["web"]:
        print(f"Chat:    {deployed['Page']}")


def destroy(given):
    require_tools("aws")
    stage, events = given.get("stage", ""), f"webchat-{given.get('stage')}-events"
    if not stage:
        raise Wrong("`STAGE` is missing: name the deployment to remove, such as `make destroy STAGE=poc`")
    doomed = given.get("deleteEvents")
    if doomed and doomed != events:
        raise Wrong(f"`DELETE_EVENTS` is `{doomed}`: to delete the events of {stage} too, give the table's name, {events}")
    account, region = identity()
    stack = f"webchat-{stage}"
    exists = stack_exists(stack)
    if not exists and not doomed:
        raise Wrong(f"there is no stack {stack} in {account}, {region}")
    fate = f"AND ITS EVENTS, for good: {events}" if doomed else f"but not its events: {events} stays"
    print(f"This removes {stack} from {account} in {region}, {fate}.\nType the stage's name to go on: ", end="", flush=True)
    if sys.stdin.readline().strip() != stage:
        raise Wrong("nothing was removed")
    if exists:
        page.withdraw(outputs(stack))  # a bucket with something in it cannot be removed
        tools.run("aws", "cloudformation", "delete-stack", "--stack-name", stack)
        tools.run("aws", "cloudformation", "wait", "stack-delete-complete", "--stack-name", stack)
    if doomed:
        for step in ("update-table --no-deletion-protection-enabled", "wait table-exists", "delete-table"):
            aws_dynamodb = ["aws", "dynamodb", *step.split(), "--table-name", events]
            subprocess.run(aws_dynamodb, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    print(f"{stack} is removed" + ("" if doomed else f"; {events} is still there"))


def require_tools(*names):
    hints = {"aws": "the AWS command line", "node": "Node 20", "npm": "Node 20", "cargo": "Rust"}
    for name in names:
        if not shutil.which(name):
            raise Wrong(f"`{name}` is not on the PATH: install {hints[name]}")


def checked(context):
    """The configuration these values come to."""
    values = [f"{name}={value}" for name, value in context.items()]
    app = subprocess.run(
        ["node", "--import", "tsx", "bin/config.ts", *values], cwd=tools.CDK_FOLDER, capture_output=True, text=True
    )
    if app.returncode != 0:
        raise Wrong(app.stderr.strip().removeprefix("webchat: "))
    return json.loads(app.stdout)


def identity():
    """Account and region."""
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or aws_text("configure", "get", "region")
    if not region:
        raise Wrong("no AWS region is chosen: set AWS_REGION, or run `aws configure`")
    os.environ["AWS_REGION"] = os.environ["AWS_DEFAULT_REGION"] = region
    account = aws_text("sts", "get-caller-identity", "--query", "Account", "--output", "text")
    if not account:
        raise Wrong("AWS knows no credentials of yours: run `aws configure` or `aws sso login`, or set AWS_PROFILE")
    return account, region


def outputs(stack):
    """The outputs of a stack that is deployed; nothing if there is none."""
    described = ["cloudformation", "describe-stacks", "--stack-name", stack]
    found = json.loads(aws_text(*described, "--query", "Stacks[0].Outputs", "--output", "json") or "null")
    return {output["OutputKey"]: output["OutputValue"] for output in found or []}


def stack_exists(stack):
    return bool(aws_text("cloudformation", "describe-stacks", "--stack-name", stack, "--output", "text"))


def table_exists(name):
    return bool(aws_text("dynamodb", "describe-table", "--table-name", name, "--output", "text"))


def synthesise(context, assembly):
    values = [word for name, value in context.items() for word in ("-c", f"{name}={value}")]
    tools.run(tools.CDK, "synth", "--quiet", "--output", assembly, *values, cwd=tools.CDK_FOLDER)


def prepare_account(account, region, assembly):
    """What an account needs once: the CDK's own stack, and a role with which API Gateway writes logs."""
    bootstrapped = aws_text("ssm", "get-parameter", "--name", "/cdk-bootstrap/hnb659fds/version", "--output", "text")
    if not bootstrapped:
        print("preparing the account for the CDK (once): cdk bootstrap", flush=True)
        tools.run(tools.CDK, "bootstrap", f"aws://{account}/{region}")
    role = aws_text("apigateway", "get-account", "--query", "cloudwatchRoleArn", "--output", "text")
    if role in ("", "None"):
        print("letting API Gateway write logs in this account (once): webchat-account", flush=True)
        cdk_deploy("webchat-account", assembly)


def cdk_deploy(stack, assembly, adopt=False):
    """`adopt`: the events table of an earlier deployment becomes the stack's again."""
    options = ["--exclusively", "--require-approval", "never", *(["--import-existing-resources"] if adopt else [])]
    tools.run(tools.CDK, "deploy", stack, "--app", assembly, *options, cwd=tools.CDK_FOLDER)


def aws_text(*arguments):
    """What the AWS command line says; nothing if it fails."""
    said = subprocess.run(["aws", *arguments], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    return said.stdout.strip() if said.returncode == 0 else ""


if __name__ == "__main__":
    main()
