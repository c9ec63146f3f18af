import newrelic.agent

newrelic.agent.initialize()


@newrelic.agent.background_task()
def handler(event, context):
    return {"transaction": newrelic.agent.current_transaction() is not None}
