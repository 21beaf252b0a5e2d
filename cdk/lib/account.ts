/**
 * What an account needs once per region: a role with which API Gateway writes logs. Without one no stage with access logs
 * can be made. `make deploy` deploys this stack if the account has no such role; it belongs to no stage and stays.
 */
import { RemovalPolicy, Stack, Validations } from 'aws-cdk-lib';
import { CfnAccount } from 'aws-cdk-lib/aws-apigateway';
import { ManagedPolicy, Role, ServicePrincipal } from 'aws-cdk-lib/aws-iam';
import type { Construct } from 'constructs';

export class Account extends Stack {
  constructor(scope: Construct) {
    super(scope, 'webchat-account', { description: 'webchat: lets API Gateway write logs in this account and region' });
    const role = new Role(this, 'GatewayLogs', {
      assumedBy: new ServicePrincipal('apigateway.amazonaws.com'),
      managedPolicies: [ManagedPolicy.fromAwsManagedPolicyName('service-role/AmazonAPIGatewayPushToCloudWatchLogs')],
    });
    role.applyRemovalPolicy(RemovalPolicy.RETAIN); // other APIs of the account come to rely on it
    new CfnAccount(this, 'Account', { cloudWatchRoleArn: role.roleArn }).applyRemovalPolicy(RemovalPolicy.RETAIN);
    Validations.of(role).acknowledge({
      id: 'AwsSolutions-IAM4[Policy::arn:<AWS::Partition>:iam::aws:policy/service-role/AmazonAPIGatewayPushToCloudWatchLogs]',
      reason: 'The policy that API Gateway checks for. It serves every API of the account, so it names no log group.',
    });
  }
}
