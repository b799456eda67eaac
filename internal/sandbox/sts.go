package sandbox

import (
	"encoding/xml"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"time"
)

// principal is the role session behind a set of credentials.
type principal struct {
	partition, account string
	role, roleARN      string // name and ARN of the role
	session            string
}

// arn is the session's; empty for nobody.
func (p principal) arn() string {
	if p.role == "" {
		return ""
	}
	return fmt.Sprintf("arn:%s:sts::%s:assumed-role/%s/%s", p.partition, p.account, p.role, p.session)
}

func roleARN(partition, account, name string) string {
	return fmt.Sprintf("arn:%s:iam::%s:role/%s", partition, account, name)
}

// stsError gives an error the code and status that STS has for it.
func stsError(e *apiError) *apiError {
	row := func(code string, status int) *apiError { return &apiError{status, code, e.message} }
	switch e.code {
	case "AccessDeniedException":
		return row("AccessDenied", http.StatusForbidden)
	case "ExpiredTokenException":
		return row("ExpiredToken", http.StatusForbidden)
	case "UnrecognizedClientException":
		return row("InvalidClientTokenId", http.StatusForbidden)
	case "InvalidSignatureException":
		return row("SignatureDoesNotMatch", http.StatusForbidden)
	case "MissingAuthenticationTokenException":
		return row("MissingAuthenticationToken", http.StatusForbidden)
	case "IncompleteSignatureException":
		return row("IncompleteSignature", http.StatusBadRequest)
	case "InvalidParameterException":
		return row("ValidationError", http.StatusBadRequest)
	case "UnknownOperationException":
		return row("InvalidAction", http.StatusBadRequest)
	case "ThrottlingException":
		return row("Throttling", http.StatusBadRequest)
	case "ServerException":
		return row("InternalFailure", http.StatusInternalServerError)
	case "ServiceUnavailableException":
		return row("ServiceUnavailable", http.StatusServiceUnavailable)
	}
	return e
}

// roleRequest is AssumeRole's input, checked.
type roleRequest struct {
	who        principal
	externalID string
	life       time.Duration
}

// parseRole holds the form against the API model and the limit for role chaining. Every caller here is an assumed role session, the
// task role's included, so that limit holds for all.
func parseRole(form func(string) string) (roleRequest, *apiError) {
	invalid := func(format string, a ...any) (roleRequest, *apiError) {
		return roleRequest{}, refuse("ValidationError", format, a...)
	}
	m := regexp.MustCompile(`^arn:(aws[a-z-]*):iam::(\d{12}):role/(?:[\x21-\x7e]+/)?([\w+=,.@-]{1,64})$`).FindStringSubmatch(form("RoleArn"))
	session, external := form("RoleSessionName"), form("ExternalId")
	switch {
	case m == nil:
		return invalid("%q is not the ARN of a role", form("RoleArn"))
	case !regexp.MustCompile(`^[\w+=,.@-]{2,64}$`).MatchString(session):
		return invalid(`roleSessionName must satisfy [\w+=,.@-]{2,64}`)
	case external != "" && (len(external) < 2 || len(external) > 1224 || !regexp.MustCompile(`^[\w+=,.@:/-]+$`).MatchString(external)):
		return invalid(`externalId must satisfy [\w+=,.@:\/-]{2,1224}`)
	}
	seconds := 3600
	if text := form("DurationSeconds"); text != "" {
		n, err := strconv.Atoi(text)
		switch {
		case err != nil || n < 900:
			return invalid("durationSeconds must be a number of at least 900")
		case n > 43200:
			return invalid("durationSeconds must be at most 43200")
		case n > 3600:
			return invalid("The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining")
		}
		seconds = n
	}
	return roleRequest{
		who:        principal{partition: m[1], account: m[2], role: m[3], roleARN: form("RoleArn"), session: session},
		externalID: external,
		life:       time.Duration(seconds) * time.Second,
	}, nil
}

// mayAssume applies Config.Roles. The answer never tells whether the role or the external id was wrong, as on AWS.
func (s *Sandbox) mayAssume(caller principal, want roleRequest) bool {
	if caller.partition != want.who.partition {
		return false
	}
	if s.cfg.Roles == nil {
		return true
	}
	role, ok := s.cfg.Roles[want.who.roleARN]
	if !ok || (role.ExternalID != "" && role.ExternalID != want.externalID) {
		return false
	}
	return len(role.TrustedBy) == 0 || slices.ContainsFunc(role.TrustedBy, func(t string) bool {
		return t == caller.roleARN || t == caller.arn() || t == caller.account
	})
}

type callerIdentityXML struct {
	XMLName   xml.Name `xml:"https://sts.amazonaws.com/doc/2011-06-15/ GetCallerIdentityResponse"`
	ARN       string   `xml:"GetCallerIdentityResult>Arn"`
	UserID    string   `xml:"GetCallerIdentityResult>UserId"`
	Account   string   `xml:"GetCallerIdentityResult>Account"`
	RequestID string   `xml:"ResponseMetadata>RequestId"`
}

type assumeRoleXML struct {
	XMLName     xml.Name        `xml:"https://sts.amazonaws.com/doc/2011-06-15/ AssumeRoleResponse"`
	RoleID      string          `xml:"AssumeRoleResult>AssumedRoleUser>AssumedRoleId"`
	ARN         string          `xml:"AssumeRoleResult>AssumedRoleUser>Arn"`
	Credentials *credentialsXML `xml:"AssumeRoleResult>Credentials"`
	RequestID   string          `xml:"ResponseMetadata>RequestId"`
}

type credentialsXML struct {
	AccessKeyID string `xml:"AccessKeyId"`
	Secret      string `xml:"SecretAccessKey"`
	Session     string `xml:"SessionToken"`
	Expiration  string `xml:"Expiration,omitempty"`
}

func (s *Sandbox) callerIdentity(c *apiCall) *apiError {
	c.writeXML(http.StatusOK, callerIdentityXML{
		ARN: c.who.arn(), UserID: roleID(c.who), Account: c.who.account, RequestID: c.w.Header().Get("X-Amzn-Requestid"),
	})
	return nil
}

func (s *Sandbox) assumeRole(c *apiCall) *apiError {
	want, err := parseRole(c.form.Get)
	if err != nil {
		return err
	}
	if !s.mayAssume(c.who, want) {
		return refuse("AccessDeniedException", "User: %s is not authorized to perform: sts:AssumeRole on resource: %s", c.who.arn(), want.who.roleARN)
	}
	var kind Kind
	for _, f := range s.faults.take(c.faultTarget(), onContent) {
		kind = f.Kind
	}
	if kind == BornExpired {
		want.life = -time.Minute
	}
	key := s.vault.newKey(want.who, s.now(), want.life)
	creds := &credentialsXML{AccessKeyID: key.id, Secret: key.secret, Session: key.session, Expiration: key.expires.Format(time.RFC3339)}
	switch kind {
	case NoToken:
		creds = nil
	case NoExpiry:
		creds.Expiration = ""
	case Expires1970, Expires2200:
		creds.Expiration = falseExpiry(kind).Format(time.RFC3339)
	}
	c.writeXML(http.StatusOK, assumeRoleXML{
		RoleID: roleID(want.who), ARN: want.who.arn(), Credentials: creds, RequestID: c.w.Header().Get("X-Amzn-Requestid"),
	})
	return nil
}

// roleID has the form of a real one; it is not kept.
func roleID(p principal) string { return "AROA" + randomText(17) + ":" + p.session }
