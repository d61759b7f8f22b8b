FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN CGO_ENABLED=0 go build -trimpath -ldflags "-s -w" -o /inbox ./cmd/inbox

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /inbox /inbox
USER 65532:65532
EXPOSE 3000
ENTRYPOINT ["/inbox"]
CMD ["serve"]
