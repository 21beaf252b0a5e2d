"""Runs the emulator (ministack). Started by emulator.py, with ministack's own Python.

Two things are added to it, so that the stack can be deployed as it is:

- The resource type AWS::ApiGatewayV2::RouteResponse, which its CloudFormation does not know and would refuse the stack for. It
  needs no such thing, as it sends what a function answers to the client in any case. So the type does nothing.
- A second listener with TLS, on $TLS_PORT: buckets refuse plain http, and a deployed page is https and wss. Its certificate is
  ministack's own, made for the occasion in $TMPDIR.
"""

import os

import hypercorn.config
from ministack.app import main
from ministack.core.tls import resolve_tls_material
from ministack.services.cloudformation.provisioners import _RESOURCE_HANDLERS


def create(logical_id, properties, stack_name):
    return f"{properties['ApiId']}/{logical_id}", {}


def delete(physical_id, properties):
    pass


class WithTls(hypercorn.config.Config):
    """What ministack binds stays plain; the port beside it has TLS."""

    certfile, keyfile = resolve_tls_material()

    @property
    def bind(self):
        return [f"127.0.0.1:{os.environ['TLS_PORT']}"]

    @bind.setter
    def bind(self, plain):
        self.insecure_bind = plain
        self._bind = self.bind


_RESOURCE_HANDLERS["AWS::ApiGatewayV2::RouteResponse"] = {"create": create, "delete": delete}
hypercorn.config.Config = WithTls

main()
