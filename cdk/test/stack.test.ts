/** What matters about the deployment, each by itself. That cdk-nag is content is part of every synthesis here. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Match } from 'aws-cdk-lib/assertions';
import { ConfigError } from '../lib/config.ts';
import { webchat } from '../lib/app.ts';
import { assembly, functionNamed, resources, source, synthesise, template } from './support.ts';

test('the events are kept: protected, recoverable, and left behind by a removed stack', () => {
  for (const [, { Properties, DeletionPolicy }] of resources(template, 'AWS::DynamoDB::Table')) {
    const events = Properties.TableName === 'webchat-poc-events';
    assert.equal(DeletionPolicy, events ? 'Retain' : 'Delete', Properties.TableName);
    assert.equal(Properties.DeletionProtectionEnabled ?? false, events, Properties.TableName);
    assert.equal(Properties.PointInTimeRecoverySpecification.PointInTimeRecoveryEnabled, true);
  }
});

test('the stream feeds the projector: inserts only, from the beginning, part by part, and nothing given up is lost', () => {
  template.hasResourceProperties('AWS::Lambda::EventSourceMapping', {
    BatchSize: 100,
    StartingPosition: 'TRIM_HORIZON',
    FunctionResponseTypes: ['ReportBatchItemFailures'],
    BisectBatchOnFunctionError: true,
    FilterCriteria: { Filters: [{ Pattern: '{"eventName":["INSERT"]}' }] },
    DestinationConfig: { OnFailure: { Destination: Match.anyValue() } },
  });
  template.resourceCountIs('AWS::Lambda::EventSourceMapping', 1);
});

test('invocations by the bus are tried three times and then kept', () => {
  const configured = resources(template, 'AWS::Lambda::EventInvokeConfig').map(([, { Properties }]) => Properties);
  assert.equal(configured.length, 2);
  for (const { FunctionName, MaximumRetryAttempts, DestinationConfig } of configured) {
    assert(
      ['post', 'manage'].includes(
        template.findResources('AWS::Lambda::Function')[FunctionName.Ref]?.['Properties'].Handler,
      ),
    );
    assert.equal(MaximumRetryAttempts, 2);
    assert(DestinationConfig.OnFailure.Destination);
  }
});

test('every rule has retries and a queue for what cannot be handed over', () => {
  const rules = resources(template, 'AWS::Events::Rule');
  assert.equal(rules.length, 3);
  for (const [, { Properties }] of rules) {
    for (const target of Properties.Targets) {
      assert(target.DeadLetterConfig.Arn && target.RetryPolicy.MaximumEventAgeInSeconds >= 60, Properties.Name);
      // The payload must be the event itself: `manage` knows a sweep by its detail-type.
      assert(!target.Input && !target.InputPath && !target.InputTransformer, Properties.Name);
    }
  }
});

test('routes that clients talk to answer', () => {
  const routes = resources(template, 'AWS::ApiGatewayV2::Route');
  const answered = resources(template, 'AWS::ApiGatewayV2::RouteResponse').map(
    ([, { Properties }]) => Properties.RouteId.Ref,
  );
  const keys = routes.filter(([id]) => answered.includes(id)).map(([, { Properties }]) => Properties.RouteKey);
  assert.deepEqual(keys.sort(), ['$default', 'broadcast', 'chat', 'list']);
});

test('the stage throttles and logs requests, but neither frames nor query strings', () => {
  const [[, { Properties }]] = resources(template, 'AWS::ApiGatewayV2::Stage') as [[string, any]];
  assert(Properties.DefaultRouteSettings.ThrottlingRateLimit <= 10_000);
  assert(Properties.DefaultRouteSettings.ThrottlingBurstLimit <= 5_000);
  assert.doesNotMatch(Properties.AccessLogSettings.Format, /request\.body|querystring|authorizer/i);
});

test('auth=iam asks for a signature to connect, and only then', () => {
  const authorization = (of: typeof template) =>
    Object.fromEntries(
      resources(of, 'AWS::ApiGatewayV2::Route').map(([, { Properties }]) => [
        Properties.RouteKey,
        Properties.AuthorizationType,
      ]),
    );
  assert.deepEqual(new Set(Object.values(authorization(template))), new Set(['NONE']));
  const { $connect, ...others } = authorization(synthesise({ auth: 'iam' }).template);
  assert.equal($connect, 'AWS_IAM');
  assert.deepEqual(new Set(Object.values(others)), new Set(['NONE']));
});

test('an emulator gets the same stack but for the address of @connections', () => {
  const strip = (of: typeof template) => {
    const json = structuredClone(of.toJSON());
    for (const resource of Object.values(json['Resources']) as any[]) {
      delete resource.Properties?.Environment?.Variables.WEBCHAT_GATEWAY_URL;
    }
    return json;
  };
  const emulated = synthesise({ endpoint: 'http://127.0.0.1:4566/_aws/execute-api' }).template;
  assert.deepEqual(strip(emulated), strip(template));
  const url = functionNamed(emulated, 'post').Properties.Environment.Variables.WEBCHAT_GATEWAY_URL;
  assert.match(JSON.stringify(url), /"http:\/\/127\.0\.0\.1:4566\/_aws\/execute-api\/",\{"Ref":"\w+"\},"\/poc"/);
});

test('arm64 unless x86_64 is chosen; logs are kept as long as chosen; origins reach the functions', () => {
  const chosen = synthesise({
    arch: 'x86_64',
    retentionDays: '7',
    allowedOrigins: 'https://a.example,https://b.example',
  }).template;
  for (const [of, architecture, days, origins] of [
    [template, 'arm64', 30, ''],
    [chosen, 'x86_64', 7, 'https://a.example,https://b.example'],
  ] as const) {
    for (const [, { Properties }] of resources(of, 'AWS::Lambda::Function')) {
      assert.deepEqual(Properties.Architectures, [architecture]);
      assert.equal(Properties.Runtime, 'provided.al2023');
      assert.equal(Properties.TracingConfig.Mode, 'Active');
      assert.equal(Properties.Environment.Variables.WEBCHAT_ALLOWED_ORIGINS, origins);
    }
    const retention = new Set(
      resources(of, 'AWS::Logs::LogGroup').map(([, { Properties }]) => Properties.RetentionInDays),
    );
    assert.deepEqual(retention, new Set([days]));
  }
});

test('nine functions share one asset', () => {
  const keys = new Set(
    resources(template, 'AWS::Lambda::Function').map(([, { Properties }]) => JSON.stringify(Properties.Code)),
  );
  assert.equal(keys.size, 1);
});

test('names carry the stage', () => {
  const named = {
    'AWS::DynamoDB::Table': 'TableName',
    'AWS::SQS::Queue': 'QueueName',
    'AWS::Events::EventBus': 'Name',
    'AWS::CloudWatch::Alarm': 'AlarmName',
  };
  for (const [type, property] of Object.entries(named)) {
    for (const [id, { Properties }] of resources(template, type)) {
      assert.match(Properties[property], /^webchat-poc(-|$)/, id);
    }
  }
});

test('the bus takes events of this account alone', () => {
  assert.equal(resources(template, 'AWS::Events::EventBus').length, 1);
  for (const [, { Properties }] of resources(template, 'AWS::Events::EventBus')) {
    assert.equal(Properties.Policy, undefined);
  }
  assert.deepEqual(resources(template, 'AWS::Events::EventBusPolicy'), []);
});

test('every alarm names a section that the runbook has', () => {
  const headings = source('docs/RUNBOOK.md')
    .match(/^#+ .*$/gm)!
    .map((line) =>
      line
        .replace(/^#+ /, '')
        .toLowerCase()
        .replace(/[^a-z0-9 -]/g, '')
        .replace(/ /g, '-'),
    );
  const alarms = resources(template, 'AWS::CloudWatch::Alarm');
  assert(alarms.length > 20);
  for (const [, { Properties }] of alarms) {
    const section = Properties.AlarmDescription.match(/See docs\/RUNBOOK\.md#([a-z0-9-]+)$/)?.[1];
    assert(headings.includes(section), `${Properties.AlarmName} names ${section}`);
  }
});

test('with alarmEmail alarms are mailed, without they are only shown', () => {
  template.resourceCountIs('AWS::SNS::Topic', 0);
  const mailed = synthesise({ alarmEmail: 'ops@example.com' }).template;
  mailed.hasResourceProperties('AWS::SNS::Subscription', { Protocol: 'email', Endpoint: 'ops@example.com' });
  for (const [, { Properties }] of resources(mailed, 'AWS::CloudWatch::Alarm')) {
    assert.equal(Properties.AlarmActions.length, 1, Properties.AlarmName);
  }
});

test('the dashboard has no more than the 50 metrics that are free', () => {
  const [[, dashboard]] = resources(template, 'AWS::CloudWatch::Dashboard') as [[string, any]];
  const body = dashboard.Properties.DashboardBody['Fn::Join'][1]
    .map((part: any) => (typeof part === 'string' ? part : 'x'))
    .join('');
  const metrics = JSON.parse(body).widgets.flatMap((widget: any) => widget.properties.metrics);
  assert(metrics.length > 40 && metrics.length <= 50, `${metrics.length} metrics`);
});

test('the outputs name the URL and the tables', () => {
  const outputs = Object.keys(template.findOutputs('*'));
  assert.deepEqual(outputs.sort(), ['BusName', 'ConnectionsTable', 'EventsTable', 'ParkedTable', 'Settings', 'Url']);
});

test('a synthesis needs no account and no network', () => {
  assert.equal(assembly.manifest.missing, undefined); // nothing to be looked up
  assert.equal(assembly.getStackByName('webchat-poc').environment.account, 'unknown-account');
});

test('without a bundle the error names the command that makes it', () => {
  assert.throws(
    () => webchat(() => '/nowhere/bootstrap.zip', { context: { stage: 'poc' } }),
    (error) => error instanceof ConfigError && /make bundle/.test(error.message),
  );
});
