/** The deployment and the code agree: what stands twice, here and in Rust, is the same. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { find, functionNamed, resources, source, template, words } from './support.ts';

const functions = resources(template, 'AWS::Lambda::Function').map(([, { Properties }]) => Properties);
const tables = new Map(
  resources(template, 'AWS::DynamoDB::Table').map(([, { Properties }]) => [Properties.TableName, Properties]),
);

test('the functions are those of the registry', () => {
  const registry = find(source('handlers/src/registry.rs'), /pub fn name\(self\)[^{]*\{([\s\S]*?)\n {4}\}/)[0]!;
  assert.deepEqual(functions.map(({ Handler }) => Handler).sort(), words(registry).sort());
  assert.deepEqual(
    functions.map(({ FunctionName }) => FunctionName).sort(),
    words(registry)
      .map((name) => `webchat-poc-${name}`)
      .sort(),
  );
});

test('every function is told exactly what it reads', () => {
  const variables = words(find(source('handlers/src/settings.rs'), /pub const VARIABLES[^=]*= \[([\s\S]*?)\];/)[0]!);
  for (const { Handler, Environment } of functions) {
    assert.deepEqual(Object.keys(Environment.Variables).sort(), variables.sort(), Handler);
  }
});

test('timeouts and ages are those that the code counts on', () => {
  const timing = source('events/src/timing.rs');
  const seconds = (name: string) => {
    const [product] = find(timing, new RegExp(`${name}: Duration::from_secs\\(([0-9 *]+)\\)`));
    return product!.split('*').reduce((result, factor) => result * Number(factor), 1);
  };
  for (const { Handler, Timeout } of functions) {
    const own = ['projector', 'post', 'manage'].includes(Handler);
    assert.equal(Timeout, seconds(own ? `${Handler}_timeout` : 'route_timeout'), Handler);
  }
  const [[, mapping]] = resources(template, 'AWS::Lambda::EventSourceMapping') as [[string, any]];
  assert.equal(mapping.Properties.MaximumRecordAgeInSeconds, seconds('record_max_age'));
  const sweep = resources(template, 'AWS::Events::Rule').find(([, { Properties }]) => Properties.ScheduleExpression);
  assert.equal(sweep?.[1].Properties.ScheduleExpression, `rate(${seconds('sweep_interval') / 60} minutes)`);
});

test('the routes are those of the local gateway', () => {
  const [local] = find(source('local/src/runtime.rs'), /let routes = \[([\s\S]*?)\];/);
  const wanted = [...local!.matchAll(/\("([^"]+)", Function::(\w+)\)/g)].map(([, route, name]) => [
    route,
    name!.toLowerCase(),
  ]);
  assert.equal(wanted.length, 6);
  const integrations = new Map(
    resources(template, 'AWS::ApiGatewayV2::Integration').map(([id, { Properties }]) => [
      id,
      JSON.stringify(Properties.IntegrationUri),
    ]),
  );
  const functionIds = resources(template, 'AWS::Lambda::Function').map(([id, { Properties }]) => [
    id,
    Properties.Handler,
  ]);
  const deployed = resources(template, 'AWS::ApiGatewayV2::Route').map(([, { Properties }]) => {
    const integration = Properties.Target['Fn::Join'][1][1].Ref;
    const [, name] = functionIds.find(([id]) => integrations.get(integration)?.includes(id))!;
    return [Properties.RouteKey, name];
  });
  assert.deepEqual(deployed.sort(), wanted.sort());
});

test('the rules are those of the local bus', () => {
  const [rules] = find(source('local/src/bus.rs'), /const RULES[^=]*= \[([\s\S]*?)\];/);
  const local = [...rules!.matchAll(/\("([^"]+)", &\[([^\]]*)\], "([^"]+)"\)/g)].map(([, from, kinds, target]) => ({
    from,
    kinds: words(kinds!),
    target,
  }));
  assert.equal(local.length, 2);
  const deployed = resources(template, 'AWS::Events::Rule')
    .filter(([, { Properties }]) => Properties.EventPattern)
    .map(([, { Properties }]) => ({
      from: Properties.EventPattern.source.join(),
      kinds: Properties.EventPattern['detail-type'],
      target:
        template.findResources('AWS::Lambda::Function')[Properties.Targets[0].Arn['Fn::GetAtt'][0]]?.['Properties']
          .Handler,
    }));
  assert.deepEqual(deployed, local);
});

test('the tables, their keys and their indexes are those of the local store', () => {
  const local = source('local/src/tables.rs');
  const names = Object.fromEntries(
    [...local.matchAll(/pub const (\w+): &str = "webchat-local-(\w+)";/g)].map(([, name, table]) => [name!, table!]),
  );
  const [created] = find(local, /let tables = \[([\s\S]*?)\n {4}\];/);
  const definitions = created!.split(/json!\(\{"TableName": /).slice(1);
  assert.equal(definitions.length, 3);
  for (const definition of definitions) {
    const name = `webchat-poc-${names[find(definition, /^(\w+)/)[0]!]}`;
    const deployed = tables.get(name);
    assert(deployed, `no table ${name}`);
    const [own, ...ofIndexes] = [...definition.matchAll(/keys\("(\w+)", (?:Some\("(\w+)"\)|None)\)/g)].map(
      ([, hash, range]) => [hash, range].filter(Boolean),
    );
    assert.deepEqual(keys(deployed), own, name);
    const indexes = deployed.GlobalSecondaryIndexes ?? [];
    assert.deepEqual(indexes.map(keys), ofIndexes, name);
    assert.deepEqual(
      indexes.map((index: any) => index.IndexName),
      [...definition.matchAll(/"IndexName": "(\w+)"/g)].map((m) => m[1]),
      name,
    );
    assert.deepEqual(
      indexes.map((index: any) => index.Projection.ProjectionType),
      [...definition.matchAll(/"ProjectionType": "(\w+)"/g)].map((m) => m[1]),
      name,
    );
    const projected = definition.match(/"NonKeyAttributes": \[([^\]]*)\]/)?.[1];
    assert.deepEqual(
      indexes.flatMap((index: any) => index.Projection.NonKeyAttributes ?? []),
      projected ? words(projected) : [],
      name,
    );
    assert.equal(
      deployed.StreamSpecification?.StreamViewType,
      definition.match(/"StreamViewType": "(\w+)"/)?.[1],
      name,
    );
    assert.equal(deployed.BillingMode, 'PAY_PER_REQUEST');
  }
  const [attribute] = find(
    local,
    /"TableName": CONNECTIONS, "TimeToLiveSpecification": \{"Enabled": true, "AttributeName": "(\w+)"/,
  );
  assert.deepEqual(tables.get('webchat-poc-connections').TimeToLiveSpecification, {
    AttributeName: attribute,
    Enabled: true,
  });
});

test('a function is told the names of what is deployed beside it', () => {
  const { WEBCHAT_EVENTS_TABLE, WEBCHAT_GATEWAY_URL } = functionNamed(template, 'post').Properties.Environment
    .Variables;
  assert.equal(
    template.findResources('AWS::DynamoDB::Table')[WEBCHAT_EVENTS_TABLE.Ref]?.['Properties'].TableName,
    'webchat-poc-events',
  );
  assert.match(
    JSON.stringify(WEBCHAT_GATEWAY_URL),
    /^\{"Fn::Join":\["",\["https:\/\/",\{"Ref":"\w+"\},"\.execute-api\.",.*"\/poc"\]\]\}$/,
  );
});

function keys(of: any): string[] {
  return of.KeySchema.map((key: any) => key.AttributeName);
}
