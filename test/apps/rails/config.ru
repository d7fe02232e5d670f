require 'action_controller/railtie'

class Payroll < Rails::Application
  config.load_defaults 6.1
  config.root = __dir__
  config.eager_load = true
  config.secret_key_base = 'test-only-secret-key-base-of-64-signs-and-some-more-to-be-safe-0'
  config.logger = ActiveSupport::Logger.new($stdout)
  config.log_level = :warn
  config.consider_all_requests_local = false
  config.hosts.clear
  config.session_store :cookie_store, key: '_payroll_session'
  config.action_controller.forgery_protection_origin_check = false # the gate's address is another
  routes.append do
    root to: 'pages#show', defaults: { name: 'home' }
    get 'login' => 'sessions#new'
    post 'login' => 'sessions#create'
    post 'logout' => 'sessions#destroy'
    get 'me' => 'pages#me'
    get 'pages/:name' => 'pages#show'
  end
end

class ApplicationController < ActionController::Base
  USERS = { 'alice' => 'Alice-pw-1', 'bob' => 'Bob-pw-2' }.freeze
  protect_from_forgery with: :exception

  private

  def page(title, body)
    render html: "<!doctype html><html lang=en><meta charset=utf-8><title>#{title}</title>#{body}".html_safe
  end

  def hidden
    "<input type=hidden name=\"authenticity_token\" value=\"#{form_authenticity_token}\">"
  end
end

class SessionsController < ApplicationController
  def new(message = '')
    page 'Sign in', <<~HTML
      #{message}<form method=post action=/login>#{hidden}<input type=hidden name=back value="#{ERB::Util.h(params[:back])}">
      <label>Name <input name="session[user]"></label> <label>Password <input name="session[password]" type=password></label>
      <button>Sign in</button></form>
    HTML
  end

  def create
    given = params.require(:session).permit(:user, :password)
    unless USERS.key?(given[:user]) && USERS[given[:user]] == given[:password]
      return new('<p>Wrong name or password.</p>')
    end

    reset_session
    session[:user] = given[:user]
    redirect_to %r{\A/\w[\w/]*\z}.match?(params[:back].to_s) ? params[:back] : '/'
  end

  def destroy
    reset_session
    redirect_to '/login'
  end
end

class PagesController < ApplicationController
  before_action { redirect_to "/login?back=#{request.path}" unless session[:user] }

  def show
    page 'Payroll', "<p>SECRET-PAYROLL of #{ERB::Util.h(session[:user])}</p><p>#{ERB::Util.h(params[:name])}</p><form method=post action=/logout>#{hidden}<button>Sign out</button></form>"
  end

  def me
    page 'Me', "<p>I am #{ERB::Util.h(session[:user])}.</p>"
  end
end

Payroll.initialize!
run Payroll
