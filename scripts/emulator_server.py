"""Runs the emulator (ministack). Started by emulator.py, with ministack's own Python.

ministack's CloudFormation does not know the resource type AWS::ApiGatewayV2::RouteResponse and would refuse the stack. It
needs no such thing, as it sends what a function answers to the client in any case. So that the stack can be deployed here as
it is, the type is added as one that does nothing. That is all we change about the emulator.
"""

from ministack.app import main
from ministack.services.cloudformation.provisioners import _RESOURCE_HANDLERS


def create(logical_id, properties, stack_name):
    return f"{properties['ApiId']}/{logical_id}", {}


def delete(physical_id, properties):
    pass


_RESOURCE_HANDLERS["AWS::ApiGatewayV2::RouteResponse"] = {"create": create, "delete": delete}

main()
