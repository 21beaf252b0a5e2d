/**
 * What an operator sees: one dashboard, and alarms. Every alarm's description names the section of the runbook that says
 * what it means, how to look and how to repair; a test checks that the section is there.
 */
import { Duration, RemovalPolicy, Stack } from 'aws-cdk-lib';
import {
  Alarm,
  ComparisonOperator,
  Dashboard,
  GraphWidget,
  type IMetric,
  Metric,
  TreatMissingData,
} from 'aws-cdk-lib/aws-cloudwatch';
import { SnsAction } from 'aws-cdk-lib/aws-cloudwatch-actions';
import { FilterPattern, MetricFilter } from 'aws-cdk-lib/aws-logs';
import { Topic } from 'aws-cdk-lib/aws-sns';
import { EmailSubscription } from 'aws-cdk-lib/aws-sns-subscriptions';
import { Construct } from 'constructs';
import type { Bus } from './bus.ts';
import type { Config } from './config.ts';
import { FUNCTIONS, type Functions } from './functions.ts';
import type { Gateway } from './gateway.ts';
import type { Tables } from './tables.ts';

const RUNBOOK = 'docs/RUNBOOK.md';
const EVERY = Duration.minutes(5);

export interface MonitoringProps {
  readonly config: Config;
  readonly tables: Tables;
  readonly bus: Bus;
  readonly gateway: Gateway;
  readonly functions: Functions;
}

interface AlarmOf {
  readonly metric: IMetric;
  /** Breached by this much or more … */
  readonly threshold: number;
  /** … in this many periods one after the other. */
  readonly periods?: number;
  readonly what: string;
  readonly section: string;
}

export class Monitoring extends Construct {
  private readonly notify?: SnsAction;

  constructor(
    scope: Construct,
    private readonly props: MonitoringProps,
  ) {
    super(scope, 'Monitoring');
    if (props.config.alarmEmail) {
      this.notify = new SnsAction(this.topic(props.config.alarmEmail));
    }
    this.watchFunctions();
    this.watchQueues();
    this.watchParked();
    this.watchPushes();
    this.dashboard();
  }

  private topic(email: string): Topic {
    const topic = new Topic(this, 'Alarms', {
      topicName: `webchat-${this.props.config.stage}-alarms`,
      enforceSSL: true,
    });
    topic.addSubscription(new EmailSubscription(email));
    topic.applyRemovalPolicy(RemovalPolicy.DESTROY);
    return topic;
  }

  private alarm(name: string, { metric, threshold, periods = 1, what, section }: AlarmOf): void {
    const alarm = new Alarm(this, name, {
      alarmName: `webchat-${this.props.config.stage}-${name}`,
      alarmDescription: `${what} See ${RUNBOOK}#${section}`,
      metric,
      threshold,
      evaluationPeriods: periods,
      comparisonOperator: ComparisonOperator.GREATER_THAN_OR_EQUAL_TO_THRESHOLD,
      treatMissingData: TreatMissingData.NOT_BREACHING,
    });
    if (this.notify) {
      alarm.addAlarmAction(this.notify);
      alarm.addOkAction(this.notify);
    }
  }

  private watchFunctions(): void {
    const { all } = this.props.functions;
    for (const name of FUNCTIONS) {
      this.alarm(`${name}-errors`, {
        metric: all[name].metricErrors({ period: EVERY }),
        threshold: 1,
        what: `Invocations of ${name} fail.`,
        section: 'function-errors',
      });
      this.alarm(`${name}-throttles`, {
        metric: all[name].metricThrottles({ period: EVERY }),
        threshold: 1,
        what: `Lambda has no room to run ${name}.`,
        section: 'function-throttles',
      });
    }
    this.alarm('stream-age', {
      metric: this.streamAge(Duration.minutes(1)),
      threshold: 60_000,
      periods: 3,
      what: 'The projector is over a minute behind the events.',
      section: 'stream-age',
    });
  }

  private watchQueues(): void {
    const { functions, bus } = this.props;
    const queues = [
      ['failed-records', functions.failedRecords, 'Stream records were given up; the view may lack them.'],
      ['failed-invocations', functions.failedInvocations, 'Invocations of post or manage failed three times.'],
      ['undelivered-notices', bus.undelivered, 'EventBridge could not hand notices to a function.'],
    ] as const;
    for (const [name, queue, what] of queues) {
      const metric = queue.metricApproximateNumberOfMessagesVisible({ period: EVERY, statistic: 'Maximum' });
      this.alarm(name, { metric, threshold: 1, what, section: name });
    }
  }

  private watchParked(): void {
    this.alarm('parked-records', {
      metric: this.parked(),
      threshold: 1,
      what: 'The projector set records aside that it cannot take.',
      section: 'parked-records',
    });
  }

  /** Alarms on any 429 of `@connections`; API Gateway itself has no metric of them. */
  private watchPushes(): void {
    const { logs } = this.props.functions;
    for (const name of ['post', 'manage'] as const) {
      new MetricFilter(logs[name], 'Throttled', {
        logGroup: logs[name],
        // As a push's error shows the status of the answer; see `sort` in handlers/src/gateway.rs.
        filterPattern: FilterPattern.literal('"StatusCode(429)"'),
        metricNamespace: 'webchat',
        metricName: this.throttled().metricName,
        metricValue: '1',
      });
    }
    this.alarm('connections-429', {
      metric: this.throttled(),
      threshold: 10,
      what: 'API Gateway throttles pushes (429).',
      section: 'connections-429',
    });
  }

  private throttled(): Metric {
    return new Metric({
      namespace: 'webchat',
      metricName: `${this.props.config.stage}-connections-429`,
      statistic: 'Sum',
      period: EVERY,
    });
  }

  /** Writes to the table of parked records: each one is a record that was set aside. */
  private parked(): Metric {
    return new Metric({
      namespace: 'AWS/DynamoDB',
      metricName: 'SuccessfulRequestLatency',
      dimensionsMap: { TableName: this.props.tables.parked.tableName, Operation: 'PutItem' },
      statistic: 'SampleCount',
      period: EVERY,
    });
  }

  private streamAge(period: Duration): Metric {
    return this.props.functions.all.projector.metric('IteratorAge', { statistic: 'Maximum', period });
  }

  private gatewayMetric(metricName: string): Metric {
    const { gateway, config } = this.props;
    const dimensionsMap = { ApiId: gateway.api.apiId, Stage: config.stage };
    return new Metric({
      namespace: 'AWS/ApiGateway',
      metricName,
      dimensionsMap,
      statistic: 'Sum',
      period: EVERY,
      label: metricName,
    });
  }

  private dashboard(): void {
    const { config, functions, bus, tables } = this.props;
    // Up to 50 metrics: an account's first three dashboards of that size are free.
    const graph = (title: string, left: IMetric[], right: IMetric[] = []) =>
      new GraphWidget({ title, left, right, width: 8, height: 6, region: Stack.of(this).region });
    const each = (metric: (name: (typeof FUNCTIONS)[number]) => IMetric) => FUNCTIONS.map(metric);
    const labelled = (label: string) => ({ label, period: EVERY });
    const depth = (label: string, queue: typeof bus.undelivered) =>
      queue.metricApproximateNumberOfMessagesVisible({ label, period: EVERY, statistic: 'Maximum' });
    new Dashboard(this, 'Dashboard', {
      dashboardName: `webchat-${config.stage}`,
      widgets: [
        [
          graph('Connections and messages', [this.gatewayMetric('ConnectCount'), this.gatewayMetric('MessageCount')]),
          graph(
            'Gateway errors',
            ['ClientError', 'IntegrationError', 'ExecutionError'].map((name) => this.gatewayMetric(name)),
          ),
          graph('Pushes throttled (429)', [this.throttled()]),
        ],
        [
          graph(
            'Invocations',
            each((name) => functions.all[name].metricInvocations(labelled(name))),
          ),
          graph(
            'Errors',
            each((name) => functions.all[name].metricErrors(labelled(name))),
          ),
          graph(
            'Throttles',
            each((name) => functions.all[name].metricThrottles(labelled(name))),
          ),
        ],
        [
          graph(
            'Duration (p99, ms)',
            each((name) => functions.all[name].metricDuration({ ...labelled(name), statistic: 'p99' })),
          ),
          graph('Projector behind the events (ms)', [this.streamAge(EVERY)]),
          graph('Given up', [
            depth('records', functions.failedRecords),
            depth('invocations', functions.failedInvocations),
            depth('notices', bus.undelivered),
            this.parked().with({ label: 'parked' }),
          ]),
        ],
        [
          graph(
            'Write units',
            [tables.events, tables.connections].map((table) =>
              table.metricConsumedWriteCapacityUnits({ period: EVERY }),
            ),
          ),
        ],
      ],
    });
  }
}
