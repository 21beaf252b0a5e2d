/**
 * The bus that notices travel on, its rules, and the schedule of the sweep.
 *
 * The rules are those of `local/src/bus.rs`; a test compares the two. A rule's retries and its queue are for notices that
 * cannot be handed to the function at all; when the function itself fails, its own retries apply (functions.ts).
 */
import { Duration } from 'aws-cdk-lib';
import { EventBus, Rule, Schedule } from 'aws-cdk-lib/aws-events';
import { LambdaFunction, type LambdaFunctionProps } from 'aws-cdk-lib/aws-events-targets';
import type { Function } from 'aws-cdk-lib/aws-lambda';
import type { Queue } from 'aws-cdk-lib/aws-sqs';
import { Construct } from 'constructs';
import type { Config } from './config.ts';
import { failureQueue } from './queues.ts';

export const SOURCE = 'webchat';
/** Detail-types by the function they are for. */
export const RULES = {
  post: ['welcome', 'chat', 'broadcast', 'deliver', 'receipt'],
  manage: ['connection.gone'],
};
/** `sweep_interval` of `events/src/timing.rs`. */
const SWEEP_INTERVAL = Duration.minutes(5);

export class Bus extends Construct {
  readonly bus: EventBus;
  /** Notices that no function could be given. */
  readonly undelivered: Queue;

  constructor(
    scope: Construct,
    private readonly config: Config,
  ) {
    super(scope, 'Bus');
    this.bus = new EventBus(this, 'Bus', { eventBusName: `webchat-${config.stage}` });
    this.undelivered = failureQueue(this, 'Undelivered', `webchat-${config.stage}-undelivered-notices`);
  }

  /** Gives the notices to the functions, and runs `manage` regularly. */
  addRules(post: Function, manage: Function): void {
    // Lambda is briefly out of reach or throttled: an hour of tries. Later a chat message is no news; it is in the log.
    const retries: LambdaFunctionProps = {
      deadLetterQueue: this.undelivered,
      maxEventAge: Duration.hours(1),
      retryAttempts: 185,
    };
    for (const [name, target] of Object.entries({ post, manage })) {
      new Rule(this, name === 'post' ? 'ToPost' : 'ToManage', {
        ruleName: `webchat-${this.config.stage}-${name}`,
        eventBus: this.bus,
        eventPattern: { source: [SOURCE], detailType: RULES[name as keyof typeof RULES] },
        targets: [new LambdaFunction(target, retries)],
      });
    }
    new Rule(this, 'Sweep', {
      ruleName: `webchat-${this.config.stage}-sweep`,
      schedule: Schedule.rate(SWEEP_INTERVAL),
      // The next sweep makes up for one that was left out.
      targets: [new LambdaFunction(manage, { ...retries, maxEventAge: SWEEP_INTERVAL })],
    });
  }
}
