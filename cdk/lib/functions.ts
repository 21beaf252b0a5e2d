/**
 * The nine functions: one asset, one binary, told apart by `handler` (`handlers/src/registry.rs`).
 *
 * Beside them what belongs to them: role, log group, the mapping that feeds `projector` from the events' stream, and the
 * queues for what was given up.
 */
import { existsSync } from 'node:fs';
import { Duration, RemovalPolicy, Stack, Validations } from 'aws-cdk-lib';
import { Role, ServicePrincipal } from 'aws-cdk-lib/aws-iam';
import {
  Architecture,
  Code,
  EventInvokeConfig,
  EventSourceMapping,
  FilterCriteria,
  FilterRule,
  Function,
  LoggingFormat,
  Runtime,
  StartingPosition,
  Tracing,
} from 'aws-cdk-lib/aws-lambda';
import { LogGroup } from 'aws-cdk-lib/aws-logs';
import type { Queue } from 'aws-cdk-lib/aws-sqs';
import { Construct } from 'constructs';
import type { Bus } from './bus.ts';
import { type Config, ConfigError } from './config.ts';
import type { Gateway } from './gateway.ts';
import { connectionsArn, type FunctionName, PERMISSIONS, type Resources, statements } from './permissions.ts';
import { failureQueue } from './queues.ts';
import type { Tables } from './tables.ts';

export const FUNCTIONS = Object.keys(PERMISSIONS) as FunctionName[];

/** Timeouts are those of `events/src/timing.rs`: handlers count on them. */
const ROUTE_TIMEOUT = Duration.seconds(10);
const TIMEOUTS: Partial<Record<FunctionName, Duration>> = {
  projector: Duration.seconds(60),
  post: Duration.seconds(60),
  manage: Duration.seconds(240),
};
/**
 * Memory buys processor time: 1769 MB are one processor. The binary uses under 12 MB of it. 256 MB make a start of a few
 * milliseconds of work short enough to wait for; `projector` and `post` work through batches and hundreds of TLS writes.
 */
const ROUTE_MEMORY = 256;
const MEMORY: Partial<Record<FunctionName, number>> = { projector: 512, post: 512 };
/** `record_max_age` of `events/src/timing.rs`. */
const RECORD_MAX_AGE = Duration.hours(6);

export interface FunctionsProps {
  readonly config: Config;
  readonly bundle: string;
  readonly tables: Tables;
  readonly bus: Bus;
  readonly gateway: Gateway;
  /** Origins of web pages that may connect; none: any. */
  readonly allowedOrigins: string[];
}

export class Functions extends Construct {
  readonly all: Record<FunctionName, Function>;
  readonly logs: Record<FunctionName, LogGroup>;
  /** Stream records the projector never took. */
  readonly failedRecords: Queue;
  /** Invocations of `post` and `manage` that failed three times. */
  readonly failedInvocations: Queue;

  constructor(
    scope: Construct,
    private readonly props: FunctionsProps,
  ) {
    super(scope, 'Functions');
    const {
      config: { stage },
      bundle,
    } = props;
    if (!existsSync(bundle)) {
      throw new ConfigError(`there is no bundle for ${props.config.arch} at ${bundle}: run \`make bundle\` first`);
    }
    this.failedRecords = failureQueue(this, 'FailedRecords', `webchat-${stage}-failed-records`);
    this.failedInvocations = failureQueue(this, 'FailedInvocations', `webchat-${stage}-failed-invocations`);

    const resources = this.resources();
    const made = FUNCTIONS.map((name) => [name, this.addFunction(name, resources)] as const);
    this.all = Object.fromEntries(made.map(([name, { function: it }]) => [name, it])) as typeof this.all;
    this.logs = Object.fromEntries(made.map(([name, { logGroup }]) => [name, logGroup])) as typeof this.logs;

    this.followStream(this.all.projector);
    this.keepFailures(this.all.post);
    this.keepFailures(this.all.manage);
  }

  private resources(): Resources {
    const {
      tables,
      bus,
      gateway,
      config: { stage },
    } = this.props;
    const stack = Stack.of(this);
    return {
      events: tables.events.tableArn,
      eventsStream: tables.events.tableStreamArn!,
      eventsStreams: `${tables.events.tableArn}/stream/*`,
      connections: tables.connections.tableArn,
      connectionsLive: `${tables.connections.tableArn}/index/live`,
      parked: tables.parked.tableArn,
      bus: bus.bus.eventBusArn,
      push: connectionsArn(stack, gateway.api.apiId, stage, 'POST'),
      look: connectionsArn(stack, gateway.api.apiId, stage, 'GET'),
      failedRecords: this.failedRecords.queueArn,
      failedInvocations: this.failedInvocations.queueArn,
    };
  }

  private addFunction(name: FunctionName, resources: Resources): { function: Function; logGroup: LogGroup } {
    const { config, bundle } = this.props;
    const functionName = `webchat-${config.stage}-${name}`;
    const scope = new Construct(this, name[0]!.toUpperCase() + name.slice(1));
    const logGroup = new LogGroup(scope, 'Logs', {
      logGroupName: `/aws/lambda/${functionName}`,
      retention: config.retentionDays,
      removalPolicy: RemovalPolicy.DESTROY,
    });
    const role = new Role(scope, 'Role', { assumedBy: new ServicePrincipal('lambda.amazonaws.com') });
    statements(name, resources, logGroup.logGroupArn).forEach((statement) => role.addToPolicy(statement));
    const made = new Function(scope, 'Function', {
      functionName,
      description: `webchat ${config.stage}: handlers/src/${name}.rs`,
      runtime: Runtime.PROVIDED_AL2023,
      architecture: config.arch === 'arm64' ? Architecture.ARM_64 : Architecture.X86_64,
      code: Code.fromAsset(bundle),
      handler: name,
      role,
      environment: this.environment(),
      timeout: TIMEOUTS[name] ?? ROUTE_TIMEOUT,
      memorySize: MEMORY[name] ?? ROUTE_MEMORY,
      tracing: Tracing.ACTIVE,
      loggingFormat: LoggingFormat.JSON,
      logGroup,
    });
    acknowledge(role, resources, name);
    return { function: made, logGroup };
  }

  /** Exactly `VARIABLES` of `handlers/src/settings.rs`. */
  private environment(): Record<string, string> {
    const { allowedOrigins, tables, bus, gateway } = this.props;
    return {
      WEBCHAT_EVENTS_TABLE: tables.events.tableName,
      WEBCHAT_CONNECTIONS_TABLE: tables.connections.tableName,
      WEBCHAT_PARKED_TABLE: tables.parked.tableName,
      WEBCHAT_BUS: bus.bus.eventBusName,
      WEBCHAT_GATEWAY_URL: gateway.callbackUrl,
      WEBCHAT_ALLOWED_ORIGINS: allowedOrigins.join(','),
    };
  }

  /** `local/src/streams.rs` does the same on one machine. */
  private followStream(projector: Function): void {
    new EventSourceMapping(this, 'StreamToProjector', {
      target: projector,
      eventSourceArn: this.props.tables.events.tableStreamArn!,
      startingPosition: StartingPosition.TRIM_HORIZON,
      batchSize: 100,
      filters: [FilterCriteria.filter({ eventName: FilterRule.isEqual('INSERT') })],
      reportBatchItemFailures: true,
      bisectBatchOnError: true,
      maxRecordAge: RECORD_MAX_AGE,
      onFailure: { bind: () => ({ destination: this.failedRecords.queueArn }) },
    });
  }

  /** Lambda tries an asynchronous invocation three times; then it is kept. */
  private keepFailures(target: Function): void {
    new EventInvokeConfig(target, 'Invocations', {
      function: target,
      retryAttempts: 2,
      maxEventAge: Duration.hours(6),
      onFailure: { bind: () => ({ destination: this.failedInvocations.queueArn }) },
    });
  }
}

/** Wildcards of the policies, one by one: another one fails the synthesis. */
function acknowledge(role: Role, resources: Resources, name: FunctionName): void {
  const reasons: Partial<Record<keyof Resources, string>> = {
    eventsStreams: 'The name of a stream is the time it was enabled. It lists the streams of this one table.',
    push: 'A connection id is known only when its client has connected. This stage only, and only to push.',
    look: 'A connection id is known only when its client has connected. This stage only, and only to look.',
  };
  const stack = Stack.of(role);
  const because = (resource: string, reason: string) =>
    Validations.of(role).acknowledge({ id: `AwsSolutions-IAM5[Resource::${resource}]`, reason });
  because('*', 'X-Ray has no resources. Its two actions, which write traces, are the only ones on *.');
  for (const [resource] of PERMISSIONS[name]) {
    const reason = reasons[resource];
    if (reason) {
      because(flatten(stack.resolve(resources[resource])), reason);
    }
  }
}

/** An ARN as cdk-nag writes it: `<LogicalId.Attribute>` for what is known only when deployed. */
function flatten(value: unknown): string {
  if (typeof value === 'string') {
    return value;
  }
  const [intrinsic, argument] = Object.entries(value as Record<string, unknown>)[0]!;
  switch (intrinsic) {
    case 'Fn::Join':
      return (argument as [string, unknown[]])[1].map(flatten).join('');
    case 'Fn::GetAtt':
      return `<${(argument as string[]).join('.')}>`;
    default:
      return `<${String(argument)}>`;
  }
}
