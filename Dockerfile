# catnip2bids with all that it needs, for machines where nothing may be installed:
#
#     docker build -t catnip2bids .
#     docker run --rm --user "$(id -u):$(id -g)" -v /data:/data catnip2bids scan /data/cohort -o /data/plan.toml
#
# For clusters, see containers/catnip2bids.def
FROM python:3.11-slim-bookworm AS build
WORKDIR /source
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY src ./src
RUN python -m venv /opt/catnip2bids \
 && /opt/catnip2bids/bin/pip install --no-cache-dir --constraint constraints.txt '.[cluster]'

FROM python:3.11-slim-bookworm
COPY --from=build /opt/catnip2bids /opt/catnip2bids
ENV PATH=/opt/catnip2bids/bin:$PATH HOME=/tmp
RUN catnip2bids --version
WORKDIR /data
ENTRYPOINT ["catnip2bids"]
