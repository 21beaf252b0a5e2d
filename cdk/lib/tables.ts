/**
 * The three tables. `local/src/tables.rs` creates the same ones; a test compares the two.
 *
 * The events are the only data that cannot be derived again: that table alone outlives its stack.
 */
import { RemovalPolicy } from 'aws-cdk-lib';
import { AttributeType, Billing, ProjectionType, StreamViewType, TableV2 } from 'aws-cdk-lib/aws-dynamodb';
import { Construct } from 'constructs';
import type { Config } from './config.ts';

const text = (name: string) => ({ name, type: AttributeType.STRING });
const recovery = { pointInTimeRecoverySpecification: { pointInTimeRecoveryEnabled: true } };

export class Tables extends Construct {
  readonly events: TableV2;
  readonly connections: TableV2;
  readonly parked: TableV2;

  constructor(scope: Construct, { stage }: Config) {
    super(scope, 'Tables');

    this.events = new TableV2(this, 'Events', {
      tableName: `webchat-${stage}-events`,
      partitionKey: text('stream'),
      sortKey: text('id'),
      dynamoStream: StreamViewType.NEW_IMAGE,
      globalSecondaryIndexes: [
        { indexName: 'log', partitionKey: text('day'), sortKey: text('logged'), projectionType: ProjectionType.ALL },
      ],
      billing: Billing.onDemand(),
      ...recovery,
      deletionProtection: true,
      removalPolicy: RemovalPolicy.RETAIN,
    });

    this.connections = new TableV2(this, 'Connections', {
      tableName: `webchat-${stage}-connections`,
      partitionKey: text('connection'),
      globalSecondaryIndexes: [
        {
          indexName: 'live',
          partitionKey: text('live'),
          sortKey: text('connection'),
          projectionType: ProjectionType.INCLUDE,
          nonKeyAttributes: ['opened_at'],
        },
      ],
      timeToLiveAttribute: 'expires_at',
      billing: Billing.onDemand(),
      ...recovery,
      removalPolicy: RemovalPolicy.DESTROY,
    });

    this.parked = new TableV2(this, 'Parked', {
      tableName: `webchat-${stage}-parked`,
      partitionKey: text('stream'),
      sortKey: text('id'),
      billing: Billing.onDemand(),
      ...recovery,
      removalPolicy: RemovalPolicy.DESTROY,
    });
  }
}
