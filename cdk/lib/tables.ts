/**
 * The three tables. `local/src/tables.rs` creates the same ones; a test compares the two.
 *
 * The events are the only data that cannot be derived again: that table alone outlives its stack.
 */
import { RemovalPolicy } from 'aws-cdk-lib';
import { AttributeType, BillingMode, ProjectionType, StreamViewType, Table } from 'aws-cdk-lib/aws-dynamodb';
import { Construct } from 'constructs';
import type { Config } from './config.ts';

const text = (name: string) => ({ name, type: AttributeType.STRING });
const common = {
  billingMode: BillingMode.PAY_PER_REQUEST,
  pointInTimeRecoverySpecification: { pointInTimeRecoveryEnabled: true },
};

export class Tables extends Construct {
  readonly events: Table;
  readonly connections: Table;
  readonly parked: Table;

  constructor(scope: Construct, { stage }: Config) {
    super(scope, 'Tables');

    this.events = new Table(this, 'Events', {
      tableName: `webchat-${stage}-events`,
      partitionKey: text('stream'),
      sortKey: text('id'),
      stream: StreamViewType.NEW_IMAGE,
      ...common,
      deletionProtection: true,
      removalPolicy: RemovalPolicy.RETAIN,
    });
    this.events.addGlobalSecondaryIndex({
      indexName: 'log',
      partitionKey: text('day'),
      sortKey: text('logged'),
      projectionType: ProjectionType.ALL,
    });

    this.connections = new Table(this, 'Connections', {
      tableName: `webchat-${stage}-connections`,
      partitionKey: text('connection'),
      timeToLiveAttribute: 'expires_at',
      ...common,
      removalPolicy: RemovalPolicy.DESTROY,
    });
    this.connections.addGlobalSecondaryIndex({
      indexName: 'live',
      partitionKey: text('live'),
      sortKey: text('connection'),
      projectionType: ProjectionType.INCLUDE,
      nonKeyAttributes: ['opened_at'],
    });

    this.parked = new Table(this, 'Parked', {
      tableName: `webchat-${stage}-parked`,
      partitionKey: text('stream'),
      sortKey: text('id'),
      ...common,
      removalPolicy: RemovalPolicy.DESTROY,
    });
  }
}
