/** docs/PERMISSIONS.md is the policies, and the policies are docs/PERMISSIONS.md. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Resource, resources, source, template } from './support.ts';

const functions = resources(template, 'AWS::Lambda::Function').map(([, { Properties }]) => Properties);

/** `action on resource`, by function, from the table of the document. */
function documented(): Map<string, string[]> {
  const permissions = new Map<string, string[]>();
  for (const line of source('docs/PERMISSIONS.md').split('\n')) {
    const [, names, actions, resource] = line.match(/^\| ([a-z, ]+) \| (`[a-zA-Z0-9:`, -]+`) \| `([^`]+)` \|/) ?? [];
    if (!names || !actions) {
      continue;
    }
    const each = names === 'every function' ? functions.map(({ Handler }) => Handler) : names.split(', ');
    for (const name of each) {
      const own = [...actions.matchAll(/`([^`]+)`/g)].map(
        ([, action]) => `${action} on ${resource!.replace('<function>', name)}`,
      );
      permissions.set(name, [...(permissions.get(name) ?? []), ...own]);
    }
  }
  return permissions;
}

/** The same from the template. */
function synthesised(name: string, role: string): string[] {
  const policies = resources(template, 'AWS::IAM::Policy').filter(([, { Properties }]) =>
    Properties.Roles.some((of: any) => of.Ref === role),
  );
  return policies
    .flatMap(([, { Properties }]) => Properties.PolicyDocument.Statement)
    .flatMap((statement: any) => {
      assert.equal(statement.Effect, 'Allow');
      assert(!statement.NotAction && !statement.NotResource, name);
      return [statement.Action]
        .flat()
        .flatMap((action: string) =>
          [statement.Resource].flat().map((resource) => `${action} on ${readable(resource)}`),
        );
    });
}

/** An ARN with the names of what it refers to. */
function readable(arn: any): string {
  if (typeof arn === 'string') {
    return arn;
  }
  if (arn['Fn::Join']) {
    return arn['Fn::Join'][1]
      .map(readable)
      .join('')
      .replace(/^arn:<AWS::Partition>:execute-api:<AWS::Region>:<AWS::AccountId>:/, '');
  }
  if (arn['Fn::GetAtt']) {
    const [id, attribute] = arn['Fn::GetAtt'];
    return `${nameOf(id)}${attribute === 'StreamArn' ? '/stream' : ''}`;
  }
  return arn.Ref.startsWith('AWS::') ? `<${arn.Ref}>` : nameOf(arn.Ref);
}

function nameOf(id: string): string {
  const { Type, Properties } = (template.toJSON()['Resources'] as Record<string, Resource>)[id]!;
  const kinds: Record<string, [string, string]> = {
    'AWS::DynamoDB::Table': ['table', 'TableName'],
    'AWS::SQS::Queue': ['queue', 'QueueName'],
    'AWS::Logs::LogGroup': ['log group', 'LogGroupName'],
    'AWS::Events::EventBus': ['bus', 'Name'],
    'AWS::ApiGatewayV2::Api': ['api', 'Name'],
  };
  const [kind, property] = kinds[Type]!;
  return `${kind} ${Properties[property].replace('webchat-poc', 'webchat-<stage>')}`;
}

test('every function has the permissions that docs/PERMISSIONS.md names, and no others', () => {
  const named = documented();
  for (const { Handler, Role } of functions) {
    const own = synthesised(Handler, Role['Fn::GetAtt'][0]).map((permission) =>
      permission.replace('/poc/', '/<stage>/'),
    );
    assert.deepEqual(own.sort(), (named.get(Handler) ?? []).sort(), Handler);
  }
});

test('no function shares its role, and no role has policies beside its own', () => {
  const roles = functions.map(({ Role }) => Role['Fn::GetAtt'][0]);
  assert.equal(new Set(roles).size, functions.length);
  for (const [id, { Properties }] of resources(template, 'AWS::IAM::Role')) {
    assert(roles.includes(id) && !Properties.ManagedPolicyArns && !Properties.Policies, id);
  }
});

test('no action is a wildcard, and only traces are written to *', () => {
  for (const { Handler, Role } of functions) {
    for (const permission of synthesised(Handler, Role['Fn::GetAtt'][0])) {
      const [action, resource] = permission.split(' on ');
      assert.doesNotMatch(action!, /\*/, permission);
      assert(resource !== '*' || action!.startsWith('xray:Put'), permission);
    }
  }
});
