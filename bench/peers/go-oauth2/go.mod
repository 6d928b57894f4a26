module scopewright.dev/bench/go-oauth2

go 1.26.0

require (
	github.com/go-oauth2/oauth2/v4 v4.5.4
	github.com/golang-jwt/jwt/v5 v5.3.0
)

require github.com/google/uuid v1.1.1 // indirect
